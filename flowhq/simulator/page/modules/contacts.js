/*
 * Contacts, their presence, and which phone number belongs to which LID.
 */
'use strict';

__d('WAWebLidPnCache', [], (_global, require, _default, _namespace, _lazy, _module, exports) => {
  const { createUserWidOrThrow } = require('WAWebWidFactory');
  const phoneOfLid = new Map();
  const lidOfPhone = new Map();

  exports.lidPnCache = {
    /** Learns one pair of bare numbers. */
    learn(lid, phone) {
      phoneOfLid.set(lid, phone);
      lidOfPhone.set(phone, lid);
    },
    getPhoneNumber(lidWid) {
      const phone = phoneOfLid.get(lidWid?.user);
      return phone ? createUserWidOrThrow(phone, 'c.us') : undefined;
    },
    getCurrentLid(phoneWid) {
      const lid = lidOfPhone.get(phoneWid?.user);
      return lid ? createUserWidOrThrow(lid, 'lid') : undefined;
    },
  };
}, 98);

__d('WAWebApiContact', [], (_global, require, _default, _namespace, _lazy, _module, exports) => {
  const { lidPnCache } = require('WAWebLidPnCache');
  exports.getPhoneNumber = (wid) => (wid.isLid() ? lidPnCache.getPhoneNumber(wid) : wid);
  exports.getCurrentLid = (wid) => (wid.isLid() ? wid : lidPnCache.getCurrentLid(wid));
  exports.getAlternateUserWid = (wid) => (wid.isLid()
    ? lidPnCache.getPhoneNumber(wid) : lidPnCache.getCurrentLid(wid));
}, 98);

__d('WAWebContactModel', [], (_global, require, _default, _namespace, _lazy, _module, exports) => {
  const { BaseModel, defineModel } = require('WAWebBaseModel');

  class Contact extends BaseModel {
    getCollection() {
      return require('WAWebContactCollection').ContactCollection;
    }
  }
  defineModel(Contact, {
    proxyName: 'contact',
    props: [
      'id', 'name', 'shortName', 'pushname', 'type', 'verifiedName', 'isBusiness', 'isEnterprise',
      'verifiedLevel', 'privacyMode', 'statusMute', 'sectionHeader', 'labels', 'username',
      'syncToAddressbook', 'isContactSyncCompleted', 'phoneNumber', 'isAddressBookContact',
    ],
    session: ['isContactBlocked', 'businessProfile', 'status', 'profilePicThumb', 'commonGroups'],
    defaults: {
      isBusiness: false, isEnterprise: false, type: 'in', labels: Object.freeze([]), isContactBlocked: false,
    },
  });
  exports.Contact = Contact;
}, 98);

__d('WAWebContactCollection', [], (_global, require, _default, _namespace, _lazy, _module, exports) => {
  const { BaseCollection } = require('WAWebBaseCollection');
  const { Contact } = require('WAWebContactModel');

  class ContactCollectionImpl extends BaseCollection {
    static model = Contact;

    getMeContact() {
      return this.gadd({ id: require('WAWebUserPrefsMeUser').getMePnUserOrThrow() });
    }

    async find(id) {
      return this.gadd({ id: require('WAWebWidFactory').createWidOrThrow(id) });
    }
  }
  exports.ContactCollectionImpl = ContactCollectionImpl;
  exports.ContactCollection = new ContactCollectionImpl();
}, 98);

__d('WAWebPresenceCollection', [], (_global, require, _default, _namespace, _lazy, _module, exports) => {
  const { BaseCollection } = require('WAWebBaseCollection');
  const { BaseModel, defineModel } = require('WAWebBaseModel');

  class Chatstate extends BaseModel {}
  defineModel(Chatstate, { proxyName: 'chatstate', props: ['id', 'type', 't', 'deny'] });

  class PresenceImpl extends BaseModel {
    initialize() {
      this.chatstate = new Chatstate({ id: this.id });
    }

    async subscribe() {
      require('SimSession').subscribe(this.id);
      this.set('isSubscribed', true);
    }
  }
  defineModel(PresenceImpl, {
    proxyName: 'presence',
    props: ['id', 'isOnline', 'isSubscribed', 'hasData', 'isUser', 'isGroup'],
    session: ['chatstate'],
    defaults: { isOnline: false, isSubscribed: false, hasData: false },
  });

  class PresenceCollectionImpl extends BaseCollection {
    static model = PresenceImpl;
  }
  // Only the instance goes out: with the class there too, clients take the class for the store.
  exports.PresenceCollection = new PresenceCollectionImpl();
}, 98);

__d('WAWebChatStateBridge', [], (_global, require, _default, _namespace, _lazy, _module, exports) => {
  const tell = (state) => (wid) => require('SimSession').chatstate(wid, state);
  exports.sendChatStateComposing = async (wid) => tell('composing')(wid);
  exports.sendChatStateRecording = async (wid) => tell('recording')(wid);
  exports.sendChatStatePaused = async (wid) => tell('paused')(wid);
}, 98);

__d('WAWebPresenceChatAction', [], (_global, require, _default, _namespace, _lazy, _module, exports) => {
  const bridge = require('WAWebChatStateBridge');
  exports.markComposing = (chat) => bridge.sendChatStateComposing(chat.id);
  exports.markRecording = (chat) => bridge.sendChatStateRecording(chat.id);
  exports.markPaused = (chat) => bridge.sendChatStatePaused(chat.id);
}, 98);

__d('WAWebContactPresenceBridge', [], (_global, require, _default, _namespace, _lazy, _module, exports) => {
  exports.subscribePresence = async (wid) => require('SimSession').subscribe(wid);
}, 98);

__d('WAWebQueryExistsJob', [], (_global, require, _default, _namespace, _lazy, _module, exports) => {
  const { createWid } = require('WAWebWidFactory');

  /** Every user id exists here: nobody else keeps a directory of the world's numbers. */
  exports.queryWidExists = async (wid) => (wid.isUser() ? { wid, biz: false } : null);
  exports.queryPhoneExists = async (phone) => ({ wid: createWid(`${phone.replace(/\D/g, '')}@c.us`) });
}, 98);
