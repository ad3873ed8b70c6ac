/*
 * Frames that carry messages, receipts and contacts, and what they do to the page.
 * A frame is acknowledged to the server when its effect is in the database.
 */
'use strict';

__d('SimTraffic', [], (_global, require, _default, _namespace, _lazy, module) => {
  const store = require('SimStore');
  const inbox = require('SimInbox');
  const { rawOf, keyOf } = require('SimWire');
  const { createWid } = require('WAWebWidFactory');
  const MsgKey = require('WAWebMsgKey');

  const ACK_STRINGS = { 2: 'delivery', 3: 'read', 4: 'played' };

  async function contacts(frame) {
    await inbox.learnContacts(frame.contacts.map(({ phone, name }) => ({
      id: createWid(`${phone}@c.us`), name, shortName: name?.split(' ')[0],
    })));
    await inbox.learnContacts(
      frame.contacts.filter(({ lid }) => lid).map(({ lid, phone }) => inbox.lidContact(lid, phone)),
    );
  }

  /** Old messages at the first login, chat by chat. */
  async function history(messages) {
    const { MsgCollection } = require('WAWebMsgCollection');
    const chats = new Map();
    for (const wire of messages) {
      if (!chats.has(wire.chat)) {
        chats.set(wire.chat, []);
      }
      chats.get(wire.chat).push(rawOf(wire, { isNew: false }));
    }
    for (const [chat, raws] of chats) {
      await MsgCollection.processMultipleMessages(createWid(chat), raws);
    }
  }

  /** Reactions are no messages: they are filed beside the message they belong to. */
  async function reaction(wire) {
    const target = wire.extra?.target || {};
    const parent = keyOf(wire, target.id, Boolean(target.from_me));
    const common = {
      reactionText: wire.body, t: wire.t * 1000, orphan: 0, orphanReason: null, read: false,
    };
    await require('WAWebReactionsBEUtils').addOrUpdateReactionsModelCollection({
      ...common,
      msgKey: keyOf(wire).toString(),
      parentMsgKey: parent.toString(),
      senderUserJid: wire.author || wire.from,
    }, true);
    await require('WAWebAddonReactionTableMode').reactionTableMode.bulkUpsert([{
      ...common,
      id: keyOf(wire),
      reactionParentKey: parent,
      reactionTimestamp: wire.t * 1000,
      author: wire.author ? createWid(wire.author) : undefined,
      from: createWid(wire.from),
    }]);
  }

  /** `revoked` with `extra.revokes` takes a message back; without, it is one already taken back. */
  function revocation(wire) {
    const raw = rawOf(wire, { isNew: true });
    return {
      ...raw,
      type: 'protocol',
      subtype: 'sender_revoke',
      protocolMessageKey: keyOf(wire, wire.extra.revokes),
    };
  }

  async function learnFrom({ msg, lid_pn: pair }) {
    const learnt = pair ? [inbox.lidContact(pair.lid, pair.phone)] : [];
    const sender = createWid(msg.author || msg.from);
    if (!msg.from_me && sender.isUser()) {
      learnt.push({ id: sender, pushname: msg.notify });
    }
    await inbox.learnContacts(learnt);
  }

  async function takeIn(wire) {
    if (wire.type === 'reaction') {
      await reaction(wire);
      return;
    }
    const raw = wire.type === 'revoked' && wire.extra?.revokes
      ? revocation(wire) : rawOf(wire, { isNew: true });
    await require('WAWebMsgHandlerAction').handleSingleMsg(createWid(wire.chat), raw);
  }

  async function applyReceipt(frame) {
    const from = createWid(frame.chat);
    const receipts = require('WAWebHandleMsgReceipts');
    const handle = [
      [from.isGroup(), receipts.handleGroupSimpleReceipt],
      [from.isStatus(), receipts.handleStatusSimpleReceipt],
      [true, receipts.handleChatSimpleReceipt],
    ].find(([applies]) => applies)[1];
    await handle({
      from,
      externalIds: [frame.id],
      ack: frame.ack,
      ackString: ACK_STRINGS[frame.ack],
      t: frame.t,
    });
  }

  async function answered(frame) {
    const entry = await store.queuedMessage(frame.id);
    if (!entry) {
      return;
    }
    const { chat, author } = entry.frame.msg;
    const key = new MsgKey({ fromMe: true, remote: chat, id: frame.id, participant: author });
    await require('WAWebSendMsgRecordAction').settle(key, frame);
    await store.remove('outbox', entry.order);
  }

  /** The handlers by name; `send` answers the server. */
  module.exports = {
    handlers: ({ send }) => ({
      contacts,
      history,
      sendAck: answered,
      message: async (frame) => {
        await learnFrom(frame);
        await takeIn(frame.msg);
        send({ k: 'msg_ack', seq: frame.seq });
      },
      receipt: async (frame) => {
        await applyReceipt(frame);
        send({ k: 'msg_ack', seq: frame.seq });
      },
    }),
  };
}, 66);
