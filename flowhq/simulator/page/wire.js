/*
 * Three forms of a message and the ways between them: the frame's JSON, the attributes that models
 * are made of ("raw"), and the row in the database.
 */
'use strict';

__d('SimWire', [], (_global, require, _default, _namespace, _lazy, module) => {
  const Wid = require('WAWebWid').default;
  const MsgKey = require('WAWebMsgKey');
  const { createWid } = require('WAWebWidFactory');
  const store = require('SimStore');

  const MEDIA = new Set(['image', 'video', 'audio', 'ptt', 'document', 'sticker']);
  /** Attributes that travel in fields of their own, or not at all. */
  const CORE = new Set(['id', 'from', 'to', 'type', 'body', 't', 'ack', 'author', 'participant', 'self',
    'isNewMsg', 'local', 'notifyName', 'quotedStanzaID', 'quotedMsg']);

  /** Where the text of a frame stands in the attributes depends on the type. */
  function content(type, body, extra) {
    if (MEDIA.has(type)) {
      return { caption: body || undefined, body: extra.thumbnail || '', mimetype: extra.mimetype || '' };
    }
    if (type === 'location') {
      return { loc: extra.loc ?? (body || undefined), body: extra.thumbnail || '' };
    }
    if (type === 'chat' || type === 'vcard') {
      return { body: body || '' };
    }
    return { body: body || undefined };
  }

  function keyOf(wire, id = wire.id, fromMe = wire.from_me) {
    const remote = createWid(wire.chat);
    const shared = remote.isGroup() || remote.isStatus();
    return new MsgKey({ fromMe, remote, id, participant: shared ? wire.author : undefined });
  }

  function quoteOf(wire) {
    if (!wire.quoted) {
      return {};
    }
    const { MsgCollection } = require('WAWebMsgCollection');
    const quoted = [true, false]
      .map((fromMe) => MsgCollection.get(keyOf(wire, wire.quoted, fromMe)))
      .find(Boolean);
    return {
      quotedStanzaID: wire.quoted,
      quotedParticipant: quoted?.sender || createWid(wire.from_me ? wire.from : wire.to),
      quotedMsg: quoted ? { type: quoted.type, body: quoted.body } : { type: 'chat', body: '' },
    };
  }

  /** The attributes of a message that came in a frame. A ciphertext has its content beside it. */
  function rawOf(wire, { isNew }) {
    const extra = wire.extra || {};
    const raw = {
      ...extra,
      id: keyOf(wire),
      from: createWid(wire.from),
      to: createWid(wire.to),
      type: wire.type,
      t: wire.t,
      ack: wire.ack,
      notifyName: wire.notify || '',
      self: wire.from_me ? 'out' : 'in',
      isNewMsg: isNew,
      ...quoteOf(wire),
      ...(wire.author ? { author: createWid(wire.author), participant: createWid(wire.author) } : {}),
    };
    if (wire.type !== 'ciphertext') {
      return { ...raw, ...content(wire.type, wire.body, extra) };
    }
    if (extra.undecryptable) {
      return raw;
    }
    const type = extra.decrypted_type || 'chat';
    return { ...raw, decrypted: { type, ...content(type, wire.body, extra) } };
  }

  function pack(value) {
    if (value instanceof MsgKey) {
      return { $key: value.toString() };
    }
    if (value instanceof Wid) {
      return { $wid: value.toString() };
    }
    if (Array.isArray(value)) {
      return value.map(pack);
    }
    if (value && typeof value === 'object') {
      return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, pack(part)]));
    }
    return typeof value === 'function' ? undefined : value;
  }

  function unpack(value) {
    if (Array.isArray(value)) {
      return value.map(unpack);
    }
    if (value && typeof value === 'object') {
      if (value.$key) {
        return MsgKey.fromString(value.$key);
      }
      if (value.$wid) {
        return createWid(value.$wid);
      }
      return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, unpack(part)]));
    }
    return value;
  }

  /** The database's row; `order` keeps messages of one second in their order of arrival. */
  function rowOf(raw, order = store.nextOrder()) {
    const { isNewMsg: _isNewMsg, local: _local, decrypted, ...kept } = raw.attributes || raw;
    return {
      key: raw.id.toString(),
      chat: raw.id.remote.toString(),
      t: raw.t,
      order,
      raw: pack({ ...kept, ...decrypted }),
    };
  }

  const rawOfRow = (row) => ({ ...unpack(row.raw), isNewMsg: false });

  /** The frame's form of an outgoing message. */
  function wireOf(message) {
    const extra = Object.entries(pack(message.attributes || message)).filter(
      ([name, value]) => !CORE.has(name) && value !== undefined && value !== null,
    );
    return {
      id: message.id.id,
      chat: message.id.remote.toString(),
      from: message.from.toString(),
      to: message.to.toString(),
      from_me: true,
      type: message.type,
      body: MEDIA.has(message.type) ? message.caption || '' : message.body || '',
      t: message.t,
      notify: '',
      ack: 0,
      extra: Object.fromEntries(extra),
      ...(message.id.participant ? { author: message.id.participant.toString() } : {}),
      ...(message.quotedStanzaID ? { quoted: message.quotedStanzaID } : {}),
    };
  }

  module.exports = { keyOf, rawOf, rowOf, rawOfRow, wireOf };
}, 66);
