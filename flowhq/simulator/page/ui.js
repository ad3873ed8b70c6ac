/*
 * What a person sees: the code to scan, or a plain list of chats. Follows the models.
 */
'use strict';

__d('SimUi', [], (_global, require, _default, _namespace, _lazy, module) => {
  /** Pause before drawing, ms: many changes, one drawing. */
  const DRAW_MS = 100;
  const CHATS_MAX = 50;
  const TEXTS = {
    OPENING: 'Connecting …',
    PAIRING: 'Linking this device …',
    TIMEOUT: 'No connection. Trying again …',
    CONFLICT: 'WhatsApp is open in another window.',
    UNPAIRED_IDLE: 'The code has expired.',
  };

  function element(tag, properties = {}, ...children) {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  }

  function codeText() {
    const { Conn } = require('WAWebConnModel');
    const { encodeB64 } = require('SimBase64');
    const { registration } = require('SimState');
    const { noise, identity, advSecret } = registration;
    return [Conn.ref, encodeB64(noise), encodeB64(identity), advSecret].join(',');
  }

  function qrScreen() {
    const { Conn } = require('WAWebConnModel');
    const { Socket } = require('WAWebSocketModel');
    const heading = element('h1', { textContent: 'Scan to link this device' });
    if (!Conn.ref) {
      const button = element('button', { textContent: 'Show a new code' });
      button.addEventListener('click', () => require('WAWebCmd').Cmd.refreshQR());
      const idle = Socket.state === 'UNPAIRED_IDLE' ? [button] : [];
      return element('section', { className: 'landing' }, heading, ...idle);
    }
    const text = codeText();
    const box = element('div', { className: 'code' });
    box.dataset.ref = text;
    box.append(require('SimQr').canvasOf(text));
    return element('section', { className: 'landing' }, heading, box);
  }

  function chatLine(chat) {
    const last = chat.msgs.last();
    const preview = last ? last.body || last.caption || last.type : '';
    const line = element(
      'li', {},
      element('strong', { textContent: chat.formattedTitle || chat.id.user }),
      element('span', { className: 'preview', textContent: preview.slice(0, 80) }),
    );
    if (chat.unreadCount) {
      line.append(element('span', { className: 'unread', textContent: String(chat.unreadCount) }));
    }
    return line;
  }

  function chatScreen() {
    const { ChatCollection } = require('WAWebChatCollection');
    const lines = ChatCollection.toArray().slice(0, CHATS_MAX).map(chatLine);
    const list = element('ul', { id: 'pane-side' }, ...lines);
    return element('section', { className: 'chats' }, element('h1', { textContent: 'Chats' }), list);
  }

  /** Draws after every change. */
  function start() {
    const { Socket } = require('WAWebSocketModel');
    const { Conn } = require('WAWebConnModel');
    const app = document.getElementById('app');
    let timer = null;

    function draw() {
      timer = null;
      const status = element('p', { className: 'status', textContent: TEXTS[Socket.state] || '' });
      app.replaceChildren(status, require('SimState').pairing ? chatScreen() : qrScreen());
    }

    const drawSoon = () => {
      timer ??= setTimeout(draw, DRAW_MS);
    };

    Socket.on('change:state', drawSoon);
    Conn.on('change:ref', drawSoon);
    const { ChatCollection } = require('WAWebChatCollection');
    ChatCollection.on('add change:t change:unreadCount remove', drawSoon);
    drawSoon();
  }

  function unsupported() {
    document.getElementById('app').replaceChildren(
      element('div', {
        className: 'landing-title version-title', textContent: 'WhatsApp works with Google Chrome 85+',
      }),
      element('p', { textContent: 'To use WhatsApp, update Chrome or use another browser.' }),
    );
  }

  module.exports = { start, unsupported };
}, 66);
