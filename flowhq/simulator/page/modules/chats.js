/*
 * Chats, channels (newsletters), the status feed and group data.
 */
'use strict';

__d('WAWebChatModel', [], (_global, require, _default, _namespace, _lazy, _module, exports) => {
  const { BaseModel, defineModel } = require('WAWebBaseModel');
  const { ChatMsgsCollection } = require('WAWebChatMsgsCollection');

  class Chat extends BaseModel {
    initialize() {
      this.msgs = new ChatMsgsCollection();
      this.promises = {};
    }

    title() {
      return this.formattedTitle;
    }

    getCollection() {
      return require('WAWebChatCollection').ChatCollection;
    }

    getAllMsgs() {
      return this.msgs.getModelsArray();
    }

    loadEarlierMsgs() {
      return require('WAWebChatLoadMessages').loadEarlierMsgs({ chat: this });
    }

    /** As text, a chat goes without its messages. */
    toJSON() {
      return this.attributes;
    }

    waitForChatLoading() {
      return Promise.resolve();
    }

    setComposeContents(contents) {
      this.set('composeContents', contents);
    }

    getComposeContents() {
      return this.composeContents;
    }

    getEphemeralSetting() {
      return 0;
    }

    isTrusted() {
      return true;
    }
  }

  defineModel(Chat, {
    proxyName: 'chat',
    props: [
      'id', 'lastReceivedKey', 't', 'unreadCount', 'archive', 'isReadOnly', 'isLocked',
      'isAnnounceGrpRestrict', 'modifyTag', 'muteExpiration', 'name', 'notSpam', 'pin',
      'ephemeralDuration', 'unreadMentionsOfMe', 'endOfHistoryTransferType', 'formattedTitle',
      'hasChatBeenOpened', 'accountLid',
    ],
    session: [
      'msgs', 'promises', 'stale', 'active', 'pausedTimerId', 'composeContents', 'canSend',
      'pendingAction', 'newsletterMetadata', 'markedUnread',
    ],
    derived: {
      presence: (chat) => require('WAWebPresenceCollection').PresenceCollection.gadd({ id: chat.id }),
      contact: (chat) => require('WAWebContactCollection').ContactCollection.gadd({ id: chat.id }),
      labels: () => [],
      isParentGroup: () => false,
      groupMetadata: (chat) => (chat.id.isGroup()
        ? require('WAWebGroupMetadataCollection').default.gadd({ id: chat.id }) : undefined),
      mute: (chat) => ({ expiration: chat.muteExpiration, isMuted: chat.muteExpiration !== 0 }),
      timestamp: (chat) => chat.t,
    },
    serialized: ['msgs'],
    defaults: {
      unreadCount: 0, archive: false, isReadOnly: false, isAnnounceGrpRestrict: false, isLocked: false,
      muteExpiration: 0, notSpam: true, pin: 0, hasChatBeenOpened: false, canSend: true,
      unreadMentionsOfMe: Object.freeze([]),
    },
  });
  exports.Chat = Chat;
}, 98);

__d('WAWebChatCollection', [], (_global, require, _default, _namespace, _lazy, _module, exports) => {
  const { BaseCollection } = require('WAWebBaseCollection');
  const { Chat } = require('WAWebChatModel');

  class ChatCollectionImpl extends BaseCollection {
    static model = Chat;

    getActive() {
      return this.findFirst((chat) => chat.active);
    }

    /** The chat that was used last comes first. */
    bump(chat) {
      const at = this._models.indexOf(chat);
      if (at > 0) {
        this._models.splice(at, 1);
        this._models.unshift(chat);
      }
    }

    async find(id) {
      return require('SimInbox').openChat(require('WAWebWidFactory').createWidOrThrow(id));
    }
  }
  exports.ChatCollectionImpl = ChatCollectionImpl;
  exports.ChatCollection = new ChatCollectionImpl();
}, 98);

__d('WAWebNewsletterCollection', [], (_global, require, _default, _namespace, _lazy, _module, exports) => {
  const { BaseCollection } = require('WAWebBaseCollection');
  const { Chat } = require('WAWebChatModel');

  class NewsletterCollection extends BaseCollection {
    static model = Chat;
  }
  exports.default = new NewsletterCollection();
}, 98);

__d('WAWebStatusCollection', [], (_global, require, _default, _namespace, _lazy, _module, exports) => {
  const { BaseCollection } = require('WAWebBaseCollection');
  const { BaseModel, defineModel } = require('WAWebBaseModel');
  const { ChatMsgsCollection } = require('WAWebChatMsgsCollection');

  class StatusV3 extends BaseModel {
    initialize() {
      this.msgs = new ChatMsgsCollection();
    }

    sendReadStatus() {
      return Promise.resolve();
    }
  }
  defineModel(StatusV3, { proxyName: 'status-v3', props: ['id', 't', 'unreadCount'], session: ['msgs'] });

  class StatusCollectionImpl extends BaseCollection {
    static model = StatusV3;

    getMyStatus() {
      return this.gadd({ id: require('WAWebUserPrefsMeUser').getMePnUserOrThrow() });
    }
  }
  exports.StatusCollectionImpl = StatusCollectionImpl;
  exports.StatusCollection = new StatusCollectionImpl();
}, 98);

__d('WAWebGroupMetadataCollection', [], (_global, require, _default, _namespace, _lazy, _module, exports) => {
  const { BaseCollection } = require('WAWebBaseCollection');
  const { BaseModel, defineModel } = require('WAWebBaseModel');

  class Participant extends BaseModel {}
  defineModel(Participant, {
    proxyName: 'participant', props: ['id', 'isAdmin', 'isSuperAdmin'],
    defaults: { isAdmin: false, isSuperAdmin: false },
  });

  class ParticipantCollection extends BaseCollection {
    static model = Participant;

    iAmMember() {
      return true;
    }
  }

  class GroupMetadata extends BaseModel {
    initialize() {
      this.participants = new ParticipantCollection();
    }

    serialize() {
      return { ...super.serialize(), participants: this.participants.serialize() };
    }
  }
  defineModel(GroupMetadata, {
    proxyName: 'group-metadata',
    props: ['id', 'subject', 'desc', 'owner', 'creation', 'announce', 'restrict', 'size', 'groupType'],
    session: ['participants'],
    defaults: { groupType: 'DEFAULT', announce: false, restrict: false },
  });

  class GroupMetadataCollectionImpl extends BaseCollection {
    static model = GroupMetadata;

    onParentGroupChange() {}

    async update(id) {
      return this.gadd({ id });
    }
  }
  exports.default = new GroupMetadataCollectionImpl();
}, 98);

__d('WAWebBlocklistCollection', [], (_global, require, _default, _namespace, _lazy, _module, exports) => {
  const { BaseCollection } = require('WAWebBaseCollection');
  const { BaseModel, defineModel } = require('WAWebBaseModel');

  class Blocklist extends BaseModel {}
  defineModel(Blocklist, { proxyName: 'blocklist', props: ['id'] });

  class BlocklistCollectionImpl extends BaseCollection {
    static model = Blocklist;
  }
  exports.BlocklistCollectionImpl = BlocklistCollectionImpl;
  exports.BlocklistCollection = new BlocklistCollectionImpl();
}, 98);

__d('WAWebCallCollection', [], (_global, require, _default, _namespace, _lazy, module) => {
  const { BaseCollection } = require('WAWebBaseCollection');
  const { BaseModel, defineModel } = require('WAWebBaseModel');

  class Call extends BaseModel {}
  defineModel(Call, { proxyName: 'call', props: ['id', 'peerJid', 'isVideo', 'isGroup', 'outgoing'] });

  class CallCollectionImpl extends BaseCollection {
    static model = Call;

    processIncomingCall(call) {
      return this.add(call)[0];
    }
  }
  module.exports = new CallCollectionImpl();
}, 66);

__d('WAWebLabelCollection', [], (_global, require, _default, _namespace, _lazy, _module, exports) => {
  const { BaseCollection } = require('WAWebBaseCollection');
  const { BaseModel, defineModel } = require('WAWebBaseModel');

  class Label extends BaseModel {}
  defineModel(Label, { proxyName: 'label', props: ['id', 'name', 'hexColor'] });

  class LabelCollection extends BaseCollection {
    static model = Label;
  }
  exports.LabelCollection = new LabelCollection();
}, 98);
