/*
 * The life of the page: QR code, pairing, login, traffic, loss of the connection, conflict, logout.
 * Frames of the server come in here and become states of the models that clients watch.
 */
'use strict';

__d('SimSession', [], (_global, require, _default, _namespace, _lazy, module) => {
  const assumptions = require('SimAssumptions');
  const state = require('SimState');
  const store = require('SimStore');
  const credentials = require('SimCredentials');
  const { Link } = require('SimLink');
  const { Conn } = require('WAWebConnModel');
  const { Stream } = require('WAWebStreamModel');
  const { Socket } = require('WAWebSocketModel');
  const { Cmd } = require('WAWebCmd');

  /** Close codes that are more than a lost connection. */
  const PROOF_REFUSED = 4401;
  const REPLACED = 4409;

  let loggedIn = false;
  let inConflict = false;
  let freshlyPaired = false;
  let leaving = false;
  let timeoutTimer = null;
  // Queued frames that went into the present socket; the next one gets them again if unanswered.
  const posted = new Set();
  let flushing = false;
  let cameMeanwhile = false;

  const link = new Link({ handlers: {}, onOpen: hello, onDown: lost });
  const traffic = require('SimTraffic').handlers({ send: (frame) => link.send(frame) });

  function look({ socket, stream, mode, info }) {
    if (stream) {
      Socket.set('stream', stream);
    }
    if (info) {
      Stream.set('info', info);
    }
    if (mode) {
      Stream.set('mode', mode);
    }
    if (socket) {
      Socket.set('state', socket);
    }
  }

  async function hello() {
    link.send(await credentials.hello());
  }

  /** The socket closed under us. What a client sees depends on whether this page was in use. */
  function lost(code) {
    loggedIn = false;
    posted.clear();
    if (leaving || inConflict) {
      return;
    }
    if (code === REPLACED) {
      conflict();
      return;
    }
    if (code === PROOF_REFUSED) {
      removed();
      return;
    }
    if (!state.pairing) {
      Conn.set('ref', null);
      look({ socket: 'OPENING', stream: 'DISCONNECTED', info: 'OPENING' });
      return;
    }
    look({
      socket: Socket.state === 'TIMEOUT' ? 'TIMEOUT' : 'OPENING',
      stream: 'DISCONNECTED',
      info: navigator.onLine ? 'OPENING' : 'OFFLINE',
      mode: Cmd.isMainLoaded ? assumptions.modeWhileReconnecting : 'SYNCING',
    });
    timeoutTimer ??= setTimeout(() => Socket.set('state', 'TIMEOUT'), assumptions.timeoutAfterMs);
  }

  function foundAgain() {
    clearTimeout(timeoutTimer);
    timeoutTimer = null;
    link.settle();
  }

  // -- before the pairing ---------------------------------------------------------------------

  function config(frame) {
    assumptions.syncDelayMs = frame.sync_delay_ms ?? assumptions.syncDelayMs;
    assumptions.reloadAfterPair = frame.reload_after_pair ?? assumptions.reloadAfterPair;
  }

  function ref(frame) {
    Conn.set({ ref: frame.ref, refTTL: frame.ttl_ms });
    look({ socket: 'UNPAIRED', info: 'NORMAL', mode: 'QR' });
    link.settle();
  }

  function refsIdle() {
    Conn.set('ref', null);
    look({ socket: 'UNPAIRED_IDLE', mode: 'QR' });
  }

  async function paired(frame) {
    look({ socket: 'PAIRING', info: 'PAIRING', mode: 'SYNCING' });
    const key = await credentials.storePairing(frame);
    Conn.set({ connected: true, ...(assumptions.clearRefWhenPaired ? { ref: null } : {}) });
    freshlyPaired = true;
    link.send({ k: 'paired_ack', device: frame.device, key });
  }

  // -- login ----------------------------------------------------------------------------------

  async function challenge(frame) {
    look({ info: 'CONNECTING' });
    link.send({ k: 'proof', sig: await credentials.sign(frame.nonce) });
  }

  async function login(frame) {
    foundAgain();
    const { me } = frame;
    await credentials.updatePairing(me);
    const { getMaybeMePnUser } = require('WAWebUserPrefsMeUser');
    Conn.set({ connected: true, wid: getMaybeMePnUser(), pushname: me.pushname, platform: me.platform });
    await traffic.contacts(frame);
    if (frame.history?.length) {
      await traffic.history(frame.history);
    }
    if (freshlyPaired && assumptions.reloadAfterPair) {
      leaving = true;
      location.reload();
      return;
    }
    loggedIn = true;
    const resumed = Cmd.isMainLoaded;
    look({
      socket: 'CONNECTED', stream: resumed ? 'RESUMING' : 'SYNCING', info: resumed ? 'RESUMING' : 'SYNCING',
    });
    setTimeout(resumed ? resume : becomeMain, resumed ? 0 : assumptions.syncDelayMs);
    await flush();
  }

  function resume() {
    if (loggedIn) {
      look({ stream: 'CONNECTED', info: 'NORMAL', mode: 'MAIN' });
    }
  }

  function becomeMain() {
    if (!loggedIn || Cmd.isMainLoaded) {
      resume();
      return;
    }
    if (freshlyPaired) {
      Socket.set('hasSynced', true);
    } else {
      setTimeout(() => Socket.set('hasSynced', true), assumptions.restoredSyncMs);
    }
    Socket.set('canSend', true);
    Cmd.onMainLoaded();
    look({ stream: 'CONNECTED', info: 'NORMAL', mode: 'MAIN' });
    Cmd.trigger('offline_progress_update_from_bridge', { isComplete: true });
  }

  // -- outgoing -------------------------------------------------------------------------------

  function transmit(entry) {
    if (!loggedIn || inConflict || posted.has(entry.order) || !link.send(entry.frame)) {
      return;
    }
    posted.add(entry.order);
    if (entry.frame.k !== 'send') {
      store.remove('outbox', entry.order);
    }
  }

  /** Sends a queued frame now if the page is logged in; else it goes with the next login. */
  function post(entry) {
    if (flushing) {
      cameMeanwhile = true;
    } else {
      transmit(entry);
    }
  }

  /** Sends all that is queued, oldest first; what comes meanwhile goes behind it. */
  async function flush() {
    flushing = true;
    do {
      cameMeanwhile = false;
      for (const entry of await store.all('outbox')) {
        transmit(entry);
      }
    } while (cameMeanwhile);
    flushing = false;
  }

  const tell = (frame) => loggedIn && link.send(frame);

  // -- conflict and the end -------------------------------------------------------------------

  /** Another page of the same device is in use: this one keeps quiet until it is told otherwise. */
  function conflict() {
    inConflict = true;
    link.held = true;
    foundAgain();
    look({ socket: 'CONFLICT', mode: 'CONFLICT' });
  }

  function takeover() {
    if (!inConflict) {
      return;
    }
    inConflict = false;
    link.held = false;
    look({ socket: loggedIn ? 'CONNECTED' : 'OPENING', mode: 'MAIN' });
    if (link.send({ k: 'takeover' })) {
      flush().catch((error) => console.error('the queue is stuck', error));
    } else {
      link.connect();
    }
  }

  /** Forgets the pairing and starts over with a new code, as the real page does after any logout. */
  async function leave(reason) {
    if (leaving) {
      return;
    }
    leaving = true;
    // Through the exports: clients listen by replacing this function there.
    const code = require('WAWebLogoutReason').getErrorCodeFromLogoutReason(reason);
    link.stop();
    Conn.set('connected', false);
    Cmd.trigger('logout', reason);
    Cmd.trigger('logout_from_bridge', reason);
    await credentials.forget().catch((error) => console.error('the profile was not emptied', error));
    setTimeout(() => location.assign(`/?post_logout=1&logout_reason=${code}`), assumptions.logoutPauseMs);
  }

  const removed = () => leave(require('WAWebLogoutReasonConstants').LogoutReason.UnknownCompanion);

  async function logoutByPage() {
    tell({ k: 'logout' });
    // Never at once: clients begin to listen for the event when this call has returned.
    await Promise.resolve();
    await leave(require('WAWebLogoutReasonConstants').LogoutReason.UserInitiated);
  }

  Object.assign(link.handlers, {
    config,
    ref,
    refs_idle: refsIdle,
    paired,
    challenge,
    login,
    removed,
    conflict,
    reload: () => location.reload(),
    offline_done: () => {},
    contacts: traffic.contacts,
    msg: traffic.message,
    receipt: traffic.receipt,
    send_ack: traffic.sendAck,
  });
  window.addEventListener('online', () => link.connect());
  window.addEventListener('offline', () => link.restart());

  module.exports = {
    post,
    takeover,
    logoutByPage,
    connect: () => link.connect(),
    reconnect: () => link.restart(),
    refreshRefs: () => link.send({ k: 'refresh_refs' }),
    presence: (available) => tell({ k: 'presence', state: available }),
    chatstate: (wid, value) => tell({ k: 'chatstate', chat: wid.toString(), state: value }),
    subscribe: (wid) => tell({ k: 'subscribe', chat: wid.toString() }),
  };
}, 66);
