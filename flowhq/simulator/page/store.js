/*
 * What the page keeps in the browser profile (IndexedDB): the pairing with its key that cannot be
 * exported, chats, contacts, messages, and the queue of frames that the server has not answered.
 * A write is done when its promise resolves; a page killed right after finds it again.
 */
'use strict';

__d('SimStore', [], (_global, _require, _default, _namespace, _lazy, module) => {
  const DATABASE = 'model-storage';
  const VERSION = 1;
  const STORES = ['registration', 'chats', 'contacts', 'messages', 'outbox'];

  let database = null;
  let lastOrder = 0;

  function settled(request) {
    return new Promise((resolve, reject) => {
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error);
    });
  }

  function createStores(opened) {
    opened.createObjectStore('registration');
    opened.createObjectStore('chats', { keyPath: 'id' });
    opened.createObjectStore('contacts', { keyPath: 'id' });
    const messages = opened.createObjectStore('messages', { keyPath: 'key' });
    messages.createIndex('chat', ['chat', 't', 'order']);
    const outbox = opened.createObjectStore('outbox', { keyPath: 'order' });
    outbox.createIndex('message', 'frame.msg.id');
  }

  async function open() {
    const request = indexedDB.open(DATABASE, VERSION);
    request.onupgradeneeded = () => createStores(request.result);
    database = await settled(request);
  }

  /** Runs `work` on one store and resolves when the transaction is on disk. */
  function transact(names, mode, work) {
    return new Promise((resolve, reject) => {
      const transaction = database.transaction(names, mode, { durability: 'strict' });
      let result;
      transaction.oncomplete = () => resolve(result);
      transaction.onabort = () => reject(transaction.error);
      transaction.onerror = () => reject(transaction.error);
      Promise.resolve(work(transaction)).then((value) => {
        result = value;
      }, reject);
    });
  }

  const read = (name, work) => transact([name], 'readonly', (tx) => work(tx.objectStore(name)));
  const write = (name, work) => transact([name], 'readwrite', (tx) => work(tx.objectStore(name)));

  /** A number larger than all before it, also across restarts: files things in order of arrival. */
  function nextOrder() {
    lastOrder = Math.max(lastOrder + 1, Date.now() * 1000);
    return lastOrder;
  }

  async function walk(source, range, count, direction, visit) {
    let taken = 0;
    await new Promise((resolve, reject) => {
      const request = source.openCursor(range, direction);
      request.onerror = () => reject(request.error);
      request.onsuccess = () => {
        const cursor = request.result;
        if (!cursor || taken >= count) {
          resolve();
          return;
        }
        if (visit(cursor.value) !== false) {
          taken += 1;
        }
        cursor.continue();
      };
    });
  }

  /**
   * Up to `count` messages of a chat beside `anchor` (a row, itself left out) in order of time;
   * without an anchor the newest. `keep` chooses among them.
   */
  function messagesOf(chat, { count, direction = 'before', anchor = null, keep = () => true }) {
    const from = anchor ? [chat, anchor.t, anchor.order] : null;
    const range = direction === 'before'
      ? IDBKeyRange.bound([chat, -Infinity], from || [chat, Infinity, Infinity], false, Boolean(from))
      : IDBKeyRange.bound(from || [chat, -Infinity], [chat, Infinity, Infinity], Boolean(from), false);
    return read('messages', async (store) => {
      const rows = [];
      await walk(store.index('chat'), range, count, direction === 'before' ? 'prev' : 'next', (row) => {
        if (!keep(row)) {
          return false;
        }
        rows.push(row);
        return true;
      });
      return direction === 'before' ? rows.reverse() : rows;
    });
  }

  module.exports = {
    open,
    nextOrder,
    messagesOf,
    getRegistration: (key) => read('registration', (store) => settled(store.get(key))),
    putRegistration: (key, value) => write('registration', (store) => settled(store.put(value, key))),
    all: (name) => read(name, (store) => settled(store.getAll())),
    put: (name, row) => write(name, (store) => settled(store.put(row))),
    putAll: (name, rows) => write(name, (store) => Promise.all(rows.map((row) => settled(store.put(row))))),
    remove: (name, key) => write(name, (store) => settled(store.delete(key))),
    getMessage: (key) => read('messages', (store) => settled(store.get(key))),

    /** The queued frame that carries the message with this bare id. */
    queuedMessage: (id) => read('outbox', (store) => settled(store.index('message').get(id))),

    /** Those of the keys that the database has. */
    knownMessages: (keys) => read('messages', async (store) => {
      const found = await Promise.all(keys.map((key) => settled(store.getKey(key))));
      return new Set(found.filter((key) => key !== undefined));
    }),

    /** A message, the state of its chat and, for an outgoing one, its frame: all or nothing. */
    putMessage: ({ row, chatRow, frame }) => transact(
      ['messages', 'chats', 'outbox'], 'readwrite', async (tx) => {
        await settled(tx.objectStore('messages').put(row));
        if (chatRow) {
          await settled(tx.objectStore('chats').put(chatRow));
        }
        if (frame) {
          await settled(tx.objectStore('outbox').put(frame));
        }
      },
    ),

    /** Forgets everything; resolves when it is gone from disk. */
    clear: () => transact(STORES, 'readwrite', (tx) => Promise.all(
      STORES.map((name) => settled(tx.objectStore(name).clear())),
    )),
  };
}, 66);
