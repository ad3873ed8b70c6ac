/*
 * Chats and messages between the collections and the database: the only writer of both.
 */
'use strict';

__d('SimInbox', [], (_global, require, _default, _namespace, _lazy, module) => {
  const store = require('SimStore');
  const { rowOf, rawOfRow } = require('SimWire');
  const { decryptMs, recentMessages } = require('SimAssumptions');
  const { createWid } = require('WAWebWidFactory');
  const { Chat } = require('WAWebChatModel');
  const { Msg } = require('WAWebMsgModel');
  const { ChatCollection } = require('WAWebChatCollection');
  const { MsgCollection } = require('WAWebMsgCollection');
  const { ContactCollection } = require('WAWebContactCollection');
  const { StatusCollection } = require('WAWebStatusCollection');
  const { lidPnCache } = require('WAWebLidPnCache');
  const newsletters = require('WAWebNewsletterCollection').default;

  const collectionFor = (wid) => (wid.isNewsletter() ? newsletters : ChatCollection);

  function chatRow(chat) {
    const { id, t, unreadCount, name, archive, pin, muteExpiration, lastReceivedKey } = chat;
    return {
      id: id.toString(), t, unreadCount, name, archive, pin, muteExpiration,
      lastReceivedKey: lastReceivedKey?.toString(),
    };
  }

  function titleOf(wid) {
    const contact = ContactCollection.get(wid);
    return contact?.name || contact?.pushname || wid.user;
  }

  /** The chat, made if need be; the database has it from its first message on. */
  function openChat(wid) {
    const known = collectionFor(wid).get(wid);
    if (known) {
      return known;
    }
    const chat = new Chat({ id: wid, t: undefined, name: titleOf(wid), formattedTitle: titleOf(wid) });
    return collectionFor(wid).add(chat, { at: 0 })[0];
  }

  const saveChat = (chat) => store.put('chats', chatRow(chat));

  /** Counts a message into its chat without a word; returns what the change events will tell. */
  function count(chat, message) {
    const before = chat.unreadCount;
    const changes = {};
    if (chat.t === undefined || message.t >= chat.t) {
      Object.assign(changes, { t: message.t, lastReceivedKey: message.id });
    }
    const { isUnreadTypeMsg } = require('WAWebMsgUnreadType');
    if (message.isNewMsg && !message.id.fromMe && isUnreadTypeMsg(message) && !chat.active) {
      changes.unreadCount = before + 1;
    }
    chat.set(changes, { silent: true });
    return () => {
      for (const prop of Object.keys(changes)) {
        const previous = prop === 'unreadCount' ? before : undefined;
        chat.trigger(`change:${prop}`, chat, chat[prop], previous);
      }
      chat.trigger('change', chat);
    };
  }

  function decryptLater(message, decrypted) {
    setTimeout(() => {
      message.set(decrypted);
      message.onCiphertextDecrypted();
    }, decryptMs);
  }

  async function fileStatus(message, row) {
    StatusCollection.gadd({ id: message.author || message.from }).msgs.place(message);
    await store.putMessage({ row });
    MsgCollection.add(message);
    return message;
  }

  async function fileMessage(chatWid, raw, frame) {
    const { decrypted, ...attributes } = raw;
    const message = new Msg(attributes);
    const row = rowOf(raw);
    if (chatWid.isStatus()) {
      return fileStatus(message, row);
    }
    const chat = openChat(chatWid);
    const tell = count(chat, message);
    chat.msgs.place(message);
    await store.putMessage({ row, chatRow: chatRow(chat), frame });
    ChatCollection.bump(chat);
    MsgCollection.add(message);
    tell();
    if (decrypted) {
      decryptLater(message, decrypted);
    }
    return message;
  }

  /** Old messages of one chat in one go: no news, nothing unread. */
  async function fileHistory(chatWid, raws) {
    const known = await store.knownMessages(raws.map((raw) => raw.id.toString()));
    const fresh = raws.filter((raw) => !known.has(raw.id.toString()) && !MsgCollection.get(raw.id));
    const messages = fresh.map((raw) => new Msg(raw));
    await store.putAll('messages', fresh.map((raw) => rowOf(raw)));
    const chat = openChat(chatWid);
    const tells = messages.map((message) => count(chat, message));
    await saveChat(chat);
    for (const message of messages) {
      chat.msgs.place(message);
      MsgCollection.add(message);
    }
    tells.at(-1)?.();
    return messages;
  }

  async function revoke(raw) {
    const target = MsgCollection.get(raw.protocolMessageKey) || (await loadMessage(raw.protocolMessageKey));
    if (!target) {
      return;
    }
    const { order } = await store.getMessage(target.id.toString());
    target.set({ type: 'revoked', subtype: 'sender', body: undefined, caption: undefined });
    await store.putMessage({ row: rowOf(target, order) });
  }

  /**
   * Files messages in a chat, database first, then events. A message that is here already is left
   * as it is. `frame`: the outgoing frame to queue in the same transaction.
   */
  async function intoChat(chatWid, raws, { frame } = {}) {
    if (raws.length && raws.every((raw) => !raw.isNewMsg)) {
      return fileHistory(chatWid, raws);
    }
    const filed = [];
    for (const raw of raws) {
      const key = raw.id.toString();
      if (raw.type === 'protocol') {
        await revoke(raw);
      } else if (!MsgCollection.get(key) && !(await store.getMessage(key))) {
        filed.push(await fileMessage(chatWid, raw, frame));
      }
    }
    return filed;
  }

  /** A message out of the database into memory, with no event; undefined if there is none. */
  async function loadMessage(key) {
    const row = await store.getMessage(key.toString());
    if (!row) {
      return undefined;
    }
    const message = MsgCollection.get(row.key) || new Msg(rawOfRow(row));
    MsgCollection.add(message, { silent: true });
    collectionFor(message.id.remote).get(message.id.remote)?.msgs.place(message);
    return message;
  }

  /** A new ack into the model, if it is loaded, and into the database. */
  async function updateAck(key, ack, more = {}) {
    const message = MsgCollection.get(key) || (await loadMessage(key));
    if (!message) {
      return undefined;
    }
    message.set(more);
    message.updateAck(ack);
    const row = await store.getMessage(key.toString());
    if (row) {
      await store.put('messages', rowOf(message, row.order));
    }
    return message;
  }

  function retitle(contact) {
    const chat = ChatCollection.get(contact.id);
    if (chat && chat.formattedTitle !== titleOf(contact.id)) {
      chat.set({ name: titleOf(contact.id), formattedTitle: titleOf(contact.id) });
      saveChat(chat);
    }
  }

  function contactRow({ id, name, shortName, pushname, phoneNumber }) {
    return { id: id.toString(), name, shortName, pushname, phoneNumber: phoneNumber?.toString() };
  }

  /** What is known of contacts now; what was known before and is not said again stays. */
  async function learnContacts(all) {
    const changed = [];
    for (const { id, ...known } of all) {
      const contact = ContactCollection.gadd({ id });
      const news = Object.entries(known).filter(
        ([prop, value]) => value && String(contact[prop]) !== String(value),
      );
      if (news.length) {
        contact.set(Object.fromEntries(news));
        retitle(contact);
        changed.push(contactRow(contact));
      }
    }
    if (changed.length) {
      await store.putAll('contacts', changed);
    }
  }

  /** What follows for the contact under a LID from whose number it is. */
  function lidContact(lid, phone) {
    lidPnCache.learn(lid, phone);
    const phoneWid = createWid(`${phone}@c.us`);
    const { name, shortName } = ContactCollection.get(phoneWid) || {};
    return { id: createWid(`${lid}@lid`), phoneNumber: phoneWid, name, shortName };
  }

  async function restoreContacts() {
    for (const { id, phoneNumber, ...known } of await store.all('contacts')) {
      const wid = createWid(id);
      const contact = ContactCollection.gadd({ id: wid });
      contact.set({ ...known, phoneNumber: createWid(phoneNumber) });
      if (phoneNumber) {
        lidPnCache.learn(wid.user, contact.phoneNumber.user);
      }
    }
  }

  /** Fills the collections from the database; messages that were here before fire nothing new. */
  async function restore() {
    await restoreContacts();
    const rows = await store.all('chats');
    rows.sort((left, right) => (right.t || 0) - (left.t || 0));
    const recent = await Promise.all(
      rows.map(({ id }) => store.messagesOf(id, { count: recentMessages })),
    );
    for (const [at, { id, lastReceivedKey, ...row }] of rows.entries()) {
      const wid = createWid(id);
      const chat = new Chat({ ...row, id: wid, formattedTitle: row.name });
      if (lastReceivedKey) {
        chat.set('lastReceivedKey', require('WAWebMsgKey').fromString(lastReceivedKey));
      }
      collectionFor(wid).add(chat);
      for (const message of recent[at]) {
        const model = new Msg(rawOfRow(message));
        chat.msgs.place(model);
        MsgCollection.add(model);
      }
    }
  }

  module.exports = {
    collectionFor, openChat, saveChat, intoChat, loadMessage, updateAck, learnContacts, lidContact, restore,
  };
}, 66);
