/*
 * Message keys: `<fromMe>_<chat>_<id>[_<participant>]`.
 */
'use strict';

__d('WAWebMsgKey', [], (_global, require, _default, _namespace, _lazy, module) => {
  const Wid = require('WAWebWid').default;
  const { createWid } = require('WAWebWidFactory');
  const { minifiedKey } = require('SimAssumptions');

  /** Ids made by a linked browser begin with 3EB0 and have 20 hexadecimal digits in all. */
  const ID_PREFIX = '3EB0';
  const ID_RANDOM_BYTES = 8;

  class MsgKey {
    constructor(obj) {
      if (!obj) {
        throw new Error('MsgKey error: obj is null/undefined');
      }
      if (obj instanceof MsgKey) {
        return obj.clone();
      }
      const isDirected = obj.from !== undefined && obj.to !== undefined;
      this.fromMe = isDirected ? obj.selfDir === 'out' : Boolean(obj.fromMe);
      const remote = isDirected ? (this.fromMe ? obj.to : obj.from) : obj.remote;
      this.remote = remote instanceof Wid ? remote : createWid(remote);
      if (!this.remote || !obj.id) {
        throw new Error(`MsgKey error: missing remote or id (${remote}, ${obj.id})`);
      }
      this.id = obj.id;
      if (obj.participant) {
        this.participant = createWid(obj.participant);
      }
      this.file(
        [this.fromMe, this.remote, this.id, ...(this.participant ? [this.participant] : [])].join('_'),
      );
    }

    clone() {
      const { fromMe, remote, id, participant } = this;
      return new MsgKey({ fromMe, remote, id, participant });
    }

    equals(other) {
      return Boolean(other) && String(other) === this.toString();
    }

    static from(thing) {
      return thing instanceof MsgKey ? thing : MsgKey.fromString(String(thing));
    }

    static fromString(text) {
      const parts = text.split('_');
      if (parts.length < 3 || !['true', 'false'].includes(parts[0])) {
        throw new Error(`MsgKey error: cannot read ${text}`);
      }
      const participant = parts.length > 3 && Wid.isWid(parts.at(-1)) ? parts.pop() : undefined;
      const [fromMe, remote, ...id] = parts;
      return new MsgKey({ fromMe: fromMe === 'true', remote, id: id.join('_'), participant });
    }

    static async newId() {
      const bytes = crypto.getRandomValues(new Uint8Array(ID_RANDOM_BYTES));
      const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
      return ID_PREFIX + hex.toUpperCase();
    }
  }

  // The text's property is `_serialized`, or a minified name in newer builds; clients read the
  // name out of the source text of toString.
  const shapes = {
    plain: {
      file(text) {
        this._serialized = text;
      },
      toString() {
        return this._serialized;
      },
    },
    minified: {
      file(text) {
        this.$1 = text;
      },
      toString() {
        return this.$1;
      },
    },
  };
  for (const [name, value] of Object.entries(minifiedKey ? shapes.minified : shapes.plain)) {
    Object.defineProperty(MsgKey.prototype, name, { value, writable: true, configurable: true });
  }

  module.exports = MsgKey;
}, 66);
