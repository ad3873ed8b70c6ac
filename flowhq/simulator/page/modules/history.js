/*
 * Old messages out of the page's database.
 */
'use strict';

__d('WAWebDBMessageFindLocal', [], (_global, require, _default, _namespace, _lazy, _module, exports) => {
  const store = require('SimStore');

  /** Up to `count` messages beside the anchor, itself left out, in order of time. */
  async function msgFindByDirection({ anchor, count, direction }) {
    const { rawOfRow } = require('SimWire');
    const row = await store.getMessage(anchor.toString());
    if (!row || !(count > 0)) {
      return { messages: [], status: 200 };
    }
    const rows = await store.messagesOf(row.chat, { anchor: row, count, direction });
    return { messages: rows.map(rawOfRow), status: 200 };
  }
  Object.assign(exports, {
    msgFindByDirection,
    msgFindBefore: (query) => msgFindByDirection({ ...query, direction: 'before' }),
    msgFindAfter: (query) => msgFindByDirection({ ...query, direction: 'after' }),
  });
}, 98);

__d('WAWebDBMessageFindMedia', [], (_global, require, _default, _namespace, _lazy, _module, exports) => {
  const store = require('SimStore');
  const KINDS = {
    allMedia: ['image', 'video'], allDocs: ['document'], allLinks: ['chat'],
  };

  exports.msgFindMedia = async ({ chat, count, mediaType, direction }) => {
    const { rawOfRow } = require('SimWire');
    const kinds = KINDS[mediaType] || [];
    const rows = await store.messagesOf(chat.toString(), {
      count, direction, keep: (row) => kinds.includes(row.raw.type),
    });
    return { messages: rows.map(rawOfRow), status: 200 };
  };
}, 98);

__d('WAWebChatMessageSearch', [], (_global, require, _default, _namespace, _lazy, _module, exports) => {
  /** Loads a message that is not in memory; `collection.loadAroundPromise` tells when that is done. */
  exports.getSearchContext = (chat, key) => {
    const { loadMessage } = require('SimInbox');
    const found = new Map();
    const loadAroundPromise = loadMessage(key).then((message) => found.set(key.toString(), message));
    return { collection: { loadAroundPromise, get: (id) => found.get(id.toString()) }, key };
  };
}, 98);

__d('WAWebChatLoadMessages', [], (_global, require, _default, _namespace, _lazy, _module, exports) => {
  const store = require('SimStore');
  /** Messages that one call brings into memory. */
  const PAGE = 50;

  /** Takes `{chat}`, in older builds the chat. Resolves with the models, empty at the beginning. */
  exports.loadEarlierMsgs = async (argument) => {
    const chat = argument.chat || argument;
    const { MsgCollection } = require('WAWebMsgCollection');
    const { Msg } = require('WAWebMsgModel');
    const { rawOfRow } = require('SimWire');
    const oldest = chat.msgs.head();
    const anchor = oldest ? await store.getMessage(oldest.id.toString()) : null;
    const rows = await store.messagesOf(chat.id.toString(), { anchor, count: PAGE });
    chat.msgs.msgLoadState.noEarlierMsgs = rows.length < PAGE;
    return rows.map((row) => {
      const message = MsgCollection.get(row.key) || new Msg(rawOfRow(row));
      MsgCollection.add(message);
      chat.msgs.place(message);
      return message;
    });
  };
}, 98);
