/*
 * What leaves the page: messages, read marks, receipts coming back for them.
 */
'use strict';

__d('WAWebFindChatAction', [], (_global, require, _default, _namespace, _lazy, _module, exports) => {
  const { createWidOrThrow } = require('WAWebWidFactory');

  exports.findOrCreateLatestChat = async (thing, _origin) => {
    const wid = createWidOrThrow(thing);
    const { collectionFor, openChat } = require('SimInbox');
    const created = !collectionFor(wid).get(wid);
    return { chat: openChat(wid), created };
  };
  exports.findExistingChat = async (thing) => {
    const wid = createWidOrThrow(thing);
    return require('SimInbox').collectionFor(wid).get(wid);
  };
}, 98);

__d('WAWebGetEphemeralFieldsMsgActionsUtils', [], (
  _global, _require, _default, _namespace, _lazy, _module, exports,
) => {
  exports.getEphemeralFields = (_chat) => ({});
}, 98);

__d('WAWebSendMsgRecordAction', [], (_global, require, _default, _namespace, _lazy, _module, exports) => {
  const { ACK } = require('WAWebAck');
  const { SendMsgResult } = require('WAWebSendMsgResultAction');

  // By key: what the sender waits for. Only of this page's life; after a restart nobody waits.
  const waiting = new Map();

  /** A frame for the queue. Its number tells the server a repeat of it from another frame. */
  function entryOf(message) {
    const { wireOf } = require('SimWire');
    const order = require('SimStore').nextOrder();
    return { order, frame: { k: 'send', n: order, msg: wireOf(message) } };
  }

  /** Files the message and its frame, then hands the frame over; resolves with the model. */
  async function file(data) {
    const { intoChat } = require('SimInbox');
    const { MsgCollection } = require('WAWebMsgCollection');
    const entry = entryOf(data);
    await intoChat(data.id.remote, [data], { frame: entry });
    require('SimSession').post(entry);
    return MsgCollection.get(data.id);
  }

  /** A refused message once more, under the id it had. */
  async function fileAgain(message) {
    const entry = entryOf(message);
    message.set({ ack: ACK.CLOCK, isSendFailure: false });
    await require('SimStore').put('outbox', entry);
    require('SimSession').post(entry);
    return message;
  }

  /** A message that was handed over before is not filed again; its answer is waited for as well. */
  exports.sendMsgRecord = (data) => {
    const { MsgCollection } = require('WAWebMsgCollection');
    const key = data.id.toString();
    const known = MsgCollection.get(key);
    if (known && known.ack >= ACK.SENT) {
      return [Promise.resolve(known), Promise.resolve({ messageSendResult: SendMsgResult.OK, t: known.t })];
    }
    const answered = new Promise((resolve) => {
      waiting.set(key, [...(waiting.get(key) || []), resolve]);
    });
    if (!known) {
      return [file(data), answered];
    }
    return [known.ack === ACK.FAILED ? fileAgain(known) : Promise.resolve(known), answered];
  };

  /** The server's answer: ack 1, or a refusal by name. Never rejects: a refused send does not throw. */
  exports.settle = async (key, { t, error }) => {
    const { updateAck } = require('SimInbox');
    await updateAck(key, error ? ACK.FAILED : ACK.SENT, error ? { isSendFailure: true } : {});
    const answer = error
      ? { messageSendResult: error } : { messageSendResult: SendMsgResult.OK, t, count: null };
    for (const resolve of waiting.get(key.toString()) || []) {
      resolve(answer);
    }
    waiting.delete(key.toString());
  };
}, 98);

__d('WAWebSendMsgChatAction', [], (_global, require, _default, _namespace, _lazy, _module, exports) => {
  /** Returns at once: [promise of the model, promise of the server's answer]. */
  exports.addAndSendMsgToChat = (_chat, data) => require('WAWebSendMsgRecordAction').sendMsgRecord(data);
}, 98);

__d('WAWebSendTextMsgChatAction', [], (_global, require, _default, _namespace, _lazy, _module, exports) => {
  const MsgKey = require('WAWebMsgKey');

  exports.sendTextMsgToChat = async (chat, text) => {
    const me = require('WAWebUserPrefsMeUser');
    const from = chat.id.isLid() || chat.id.isGroup() ? me.getMeLidUserOrThrow() : me.getMePnUserOrThrow();
    const participant = chat.id.isGroup() ? from : undefined;
    const id = new MsgKey({ from, to: chat.id, id: await MsgKey.newId(), participant, selfDir: 'out' });
    const t = require('WATimeUtils').unixTime();
    return require('WAWebSendMsgChatAction').addAndSendMsgToChat(chat, {
      id, from, to: chat.id, t, type: 'chat', body: text, self: 'out', ack: 0, isNewMsg: true, local: true,
    });
  };
}, 98);

__d('WAWebUpdateUnreadChatAction', [], (_global, require, _default, _namespace, _lazy, _module, exports) => {
  const store = require('SimStore');

  /** Bare ids of the newest messages of others that the chat counts as unread. */
  async function unreadIds(chat) {
    const { isUnreadTypeMsg } = require('WAWebMsgUnreadType');
    const { rawOfRow } = require('SimWire');
    const rows = await store.messagesOf(chat.id.toString(), {
      count: chat.unreadCount,
      keep: (row) => row.raw.self !== 'out' && isUnreadTypeMsg(row.raw),
    });
    return rows.map((row) => rawOfRow(row).id.id);
  }

  /** Takes `{chat, ...}`; older builds, and clients written for them, pass the chat itself. */
  exports.sendSeen = async (argument) => {
    const chat = argument.chat || argument;
    if (!chat.unreadCount) {
      return;
    }
    const ids = await unreadIds(chat);
    const previous = chat.unreadCount;
    chat.set('unreadCount', 0);
    await require('SimInbox').saveChat(chat);
    if (previous > 0 && ids.length) {
      const frame = { k: 'seen', chat: chat.id.toString(), ids };
      const entry = { order: store.nextOrder(), frame };
      await store.put('outbox', entry);
      require('SimSession').post(entry);
    }
  };

  exports.markUnread = async (chat, unread) => {
    chat.set('unreadCount', unread ? -1 : 0);
    await require('SimInbox').saveChat(chat);
  };
}, 98);

__d('WAWebHandleMsgReceipts', [], (_global, require, _default, _namespace, _lazy, _module, exports) => {
  const MsgKey = require('WAWebMsgKey');

  /** `from`: the chat; `externalIds`: bare ids of our messages; `ack`: 2 delivered, 3 read. */
  async function apply({ from, externalIds, ack, participant }) {
    for (const id of externalIds) {
      const key = new MsgKey({ fromMe: true, remote: from, id, participant });
      await require('SimInbox').updateAck(key, ack);
    }
  }
  exports.handleChatSimpleReceipt = (receipt) => apply({ ...receipt, participant: undefined });

  /** In groups our own messages are filed under our LID or, by older clients, our number. */
  const eitherOfUs = async (receipt) => {
    const me = require('WAWebUserPrefsMeUser');
    for (const participant of [me.getMeLidUserOrThrow(), me.getMePnUserOrThrow()]) {
      await apply({ ...receipt, participant });
    }
  };
  exports.handleGroupSimpleReceipt = eitherOfUs;
  exports.handleStatusSimpleReceipt = eitherOfUs;
}, 98);

__d('WAWebMsgHandlerAction', [], (_global, require, _default, _namespace, _lazy, _module, exports) => {
  /** Where each decrypted message enters; the page calls it through its exports. */
  exports.handleSingleMsg = async (chatWid, raw) => {
    await require('WAWebMsgCollection').MsgCollection.processMultipleMessages(chatWid, [raw]);
  };
}, 98);
