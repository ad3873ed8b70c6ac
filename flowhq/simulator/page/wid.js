/*
 * WhatsApp ids: `<user>@<server>`, and the factory through which the page and its clients make them.
 */
'use strict';

__d('WAWebWid', [], (_global, _require, _default, _namespace, _lazy, _module, exports) => {
  const USER_SERVERS = new Set(['c.us', 'lid', 'bot', 'hosted', 'hosted.lid']);
  const SERVERS = new Set([...USER_SERVERS, 'g.us', 'broadcast', 'newsletter', 'call', 's.whatsapp.net']);
  const PSA_USER = '0';

  class Wid {
    constructor(text) {
      const [account, server] = text.split('@');
      const [user, device] = account.split(':');
      this.server = server === 's.whatsapp.net' ? 'c.us' : server;
      this.user = user;
      if (device !== undefined) {
        this.device = Number(device);
      }
      const suffix = device === undefined ? '' : `:${device}`;
      this._serialized = `${user}${suffix}@${this.server}`;
    }

    toString() {
      return this._serialized;
    }

    toJSON() {
      return this._serialized;
    }

    toJid() {
      return this.server === 'c.us' ? `${this.user}@s.whatsapp.net` : this._serialized;
    }

    equals(other) {
      return Boolean(other) && String(other) === this._serialized;
    }

    isSameAccount(other) {
      return other?.user === this.user && other?.server === this.server;
    }

    getDeviceId() {
      return this.device ?? 0;
    }

    isUser() {
      return USER_SERVERS.has(this.server);
    }

    isUserNotPSA() {
      return this.isUser() && !this.isPSA();
    }

    isRegularUser() {
      return this.isUserNotPSA();
    }

    isRegularUserPn() {
      return this.server === 'c.us' && !this.isPSA();
    }

    isLid() {
      return this.server === 'lid' || this.server === 'hosted.lid';
    }

    isGroup() {
      return this.server === 'g.us';
    }

    isGroupCall() {
      return this.server === 'call';
    }

    isBroadcast() {
      return this.server === 'broadcast';
    }

    isBroadcastList() {
      return this.isBroadcast() && !this.isStatus();
    }

    isStatus() {
      return this.isBroadcast() && this.user === 'status';
    }

    isStatusV3() {
      return this.isStatus();
    }

    isNewsletter() {
      return this.server === 'newsletter';
    }

    isBot() {
      return this.server === 'bot';
    }

    isPSA() {
      return this.server === 'c.us' && this.user === PSA_USER;
    }

    isServer() {
      return this._serialized === 'server@c.us';
    }

    isOfficialBizAccount() {
      return false;
    }

    isCompanion() {
      return Boolean(this.device);
    }

    static isXWid(server, wid) {
      return Wid.isWid(wid) && String(wid).endsWith(`@${server}`);
    }

    static isWid(wid) {
      return wid instanceof Wid || Wid.canBeWid(wid);
    }

    static canBeWid(text) {
      if (typeof text !== 'string') {
        return false;
      }
      const parts = text.split('@');
      return parts.length === 2 && parts[0] !== '' && SERVERS.has(parts[1]);
    }

    static user(text) {
      return typeof text === 'string' ? text.split('@')[0] : undefined;
    }

    static equals(left, right) {
      return String(left) === String(right);
    }
  }

  // The static questions are those of the instances, for text as well as for ids.
  for (const name of ['isUser', 'isLid', 'isGroup', 'isGroupCall', 'isBroadcast', 'isStatus',
    'isStatusV3', 'isNewsletter', 'isBot', 'isPSA', 'isServer', 'isOfficialBizAccount']) {
    Wid[name] = (wid) => Wid.isWid(wid) && new Wid(String(wid))[name]();
  }

  exports.default = Wid;
}, 98);

__d('WAWebWidFactory', [], (_global, require, _default, _namespace, _lazy, _module, exports) => {
  const Wid = require('WAWebWid').default;

  function createWid(thing) {
    if (thing instanceof Wid) {
      return thing;
    }
    const text = typeof thing === 'string' ? thing : thing?._serialized;
    return Wid.canBeWid(text) ? new Wid(text) : undefined;
  }

  function createWidOrThrow(thing) {
    const wid = createWid(thing);
    if (!wid) {
      throw new Error(`wid error: invalid wid ${thing}`);
    }
    return wid;
  }

  /** From a bare user and a server, or from a whole id that names its server already. */
  function createUserWidOrThrow(user, server = 'c.us') {
    return createWidOrThrow(String(user).includes('@') ? String(user) : `${user}@${server}`);
  }

  function isWidlike(thing) {
    return thing instanceof Wid
      || (typeof thing === 'object' && thing !== null && typeof thing._serialized === 'string'
        && typeof thing.server === 'string');
  }

  function withoutDevice(wid) {
    return new Wid(`${wid.user}@${wid.server}`);
  }

  Object.assign(exports, {
    createWid,
    createWidOrThrow,
    createUserWid: createUserWidOrThrow,
    createUserWidOrThrow,
    isWidlike,
    createWidFromWidLike: createWid,
    createDeviceWid: createWidOrThrow,
    createDeviceWidFromUserAndDevice: (user, server, device) => new Wid(`${user}:${device}@${server}`),
    asUserWidOrThrow: (wid) => withoutDevice(createWidOrThrow(wid)),
    asChatWid: (wid) => withoutDevice(createWidOrThrow(wid)),
    toChatWid: withoutDevice,
    toUserWid: withoutDevice,
    toUserWidOrThrow: withoutDevice,
    toGroupWid: withoutDevice,
    userJidToUserWid: (jid) => withoutDevice(createWidOrThrow(jid)),
  });
}, 98);

__d('WAWebWidToJid', [], (_global, _require, _default, _namespace, _lazy, _module, exports) => {
  exports.widToUserJid = (wid) => wid.toJid();
  exports.widToGroupJid = (wid) => wid.toJid();
  exports.widToChatJid = (wid) => wid.toJid();
}, 98);
