/*
 * Messages: the model, the page's collection of them, and those of one chat.
 */
'use strict';

__d('WAWebMsgModel', [], (_global, require, _default, _namespace, _lazy, _module, exports) => {
  const { BaseModel, defineModel } = require('WAWebBaseModel');
  const { ACK } = require('WAWebAck');

  const MEDIA = new Set(['image', 'video', 'audio', 'ptt', 'document', 'sticker']);
  const NOTIFICATIONS = new Set(['notification', 'notification_template', 'gp2', 'e2e_notification',
    'group_notification', 'broadcast_notification']);

  class Msg extends BaseModel {
    /** `ack` never goes down, except from a failure back up. */
    updateAck(ack) {
      if (this.ack === undefined || ack > this.ack || ack === ACK.FAILED) {
        this.set('ack', ack);
      }
    }

    /** The part of an answer that quotes this message. */
    msgContextInfo(_chat) {
      return {
        quotedMsg: { type: this.type, body: this.body },
        quotedStanzaID: this.id.id,
        quotedRemoteJid: undefined,
        quotedParticipant: this.sender,
      };
    }

    canReply() {
      return !NOTIFICATIONS.has(this.type);
    }

    isTrusted() {
      return true;
    }

    getCollection() {
      return require('WAWebMsgCollection').MsgCollection;
    }

    waitForPrep() {
      return Promise.resolve();
    }

    onCiphertextDecrypted() {}
  }

  defineModel(Msg, {
    proxyName: 'msg',
    props: [
      'id', 'rowId', 'serverId', 'body', 'type', 'subtype', 't', 'notifyName', 'from', 'to', 'author',
      'participant', 'self', 'ack', 'invis', 'isNewMsg', 'star', 'recvFresh', 'caption',
      'interactiveAnnotations', 'clientUrl', 'loc', 'lat', 'lng', 'isLive', 'mimetype', 'duration',
      'filehash', 'encFilehash', 'size', 'filename', 'mediaKey', 'mediaKeyTimestamp', 'directPath',
      'deprecatedMms3Url', 'pageCount', 'isGif', 'isViewOnce', 'width', 'height', 'isFromTemplate',
      'title', 'description', 'matchedText', 'thumbnail', 'richPreviewType', 'quotedMsg',
      'quotedStanzaID', 'quotedRemoteJid', 'quotedParticipant', 'quotedParentGroupJid',
      'mentionedJidList', 'groupMentions', 'vcardList', 'vcardFormattedName', 'protocolMessageKey',
      'templateParams', 'recipients', 'isForwarded', 'forwardingScore', 'labels', 'latestEditMsgKey',
      'latestEditSenderTimestampMs', 'ephemeralDuration', 'isSendFailure', 'isMdHistoryMsg', 'links',
      'broadcast', 'callDuration', 'isVideoCall', 'callOutcome', 'linkPreview', 'urlText', 'urlNumber',
      'hasReaction', 'kind', 'viewed', 'viewMode', 'local', 'ephemeralOutOfSync', 'pollName',
      'pollOptions', 'inviteCode', 'inviteGrp', 'orderId', 'productId', 'dynamicReplyButtons',
      'selectedButtonId', 'selectedId', 'listResponse', 'list', 'footer', 'urlPreview', 'order',
    ],
    session: ['mediaData', 'stale', 'search', 'isQuotedMsgAvailable'],
    derived: {
      sender: (msg) => (msg.id.fromMe ? msg.from : msg.author || msg.from),
      senderObj: (msg) => require('WAWebContactCollection').ContactCollection.get(msg.sender),
      isMedia: (msg) => MEDIA.has(msg.type),
      isMMS: (msg) => MEDIA.has(msg.type),
      isNotification: (msg) => NOTIFICATIONS.has(msg.type),
      isStatusV3: (msg) => Boolean(msg.id.remote?.isStatus()),
      isSentByMe: (msg) => msg.id.fromMe,
      isSentByMeFromWeb: (msg) => msg.id.fromMe && msg.id.id.startsWith('3EB0'),
      isFailed: (msg) => Boolean(msg.isSendFailure),
      isUnsentMedia: () => false,
      text: (msg) => (msg.type === 'chat' ? msg.body : msg.caption),
      eventType: () => 'message',
    },
    defaults: {
      invis: false, star: false, isFromTemplate: false, mentionedJidList: Object.freeze([]),
      groupMentions: Object.freeze([]), isVcardOverMmsDocument: false, labels: Object.freeze([]),
      hasReaction: false, viewMode: 'VISIBLE', isForwarded: false,
    },
  });
  exports.Msg = Msg;
}, 98);

__d('WAWebMsgCollection', [], (_global, require, _default, _namespace, _lazy, _module, exports) => {
  const { BaseCollection } = require('WAWebBaseCollection');
  const { Msg } = require('WAWebMsgModel');
  const MsgKey = require('WAWebMsgKey');

  class MsgCollectionImpl extends BaseCollection {
    static model = Msg;

    /**
     * Where every incoming message passes, live or historical. Resolves with the models when they
     * are in the chat; clients replace this method on the instance.
     */
    async processMultipleMessages(chatWid, raws, options = {}) {
      return require('SimInbox').intoChat(chatWid, raws, options);
    }

    /** From memory or from the database. */
    async getMessagesById(ids) {
      const { loadMessage } = require('SimInbox');
      const MsgKey = require('WAWebMsgKey');
      const messages = [];
      for (const id of ids) {
        const key = MsgKey.from(id);
        const message = this.get(key) || (await loadMessage(key));
        if (message) {
          messages.push(message);
        }
      }
      return { messages };
    }
  }
  exports.MsgCollectionImpl = MsgCollectionImpl;
  exports.MsgCollection = new MsgCollectionImpl();
}, 98);

__d('WAWebChatMsgsCollection', [], (_global, require, _default, _namespace, _lazy, _module, exports) => {
  const { BaseCollection } = require('WAWebBaseCollection');
  const { Msg } = require('WAWebMsgModel');

  /** The loaded messages of one chat, oldest first. */
  class ChatMsgsCollection extends BaseCollection {
    static model = Msg;

    initialize() {
      this.msgLoadState = { noEarlierMsgs: false, isLoadingEarlierMsgs: false };
      this.loadAroundPromise = Promise.resolve();
    }

    /** Puts a message in its place by time; those of the same second stay in order of arrival. */
    place(message) {
      const after = this._models.findLastIndex((other) => other.t <= message.t);
      return this.add(message, { at: after + 1 })[0];
    }
  }
  exports.ChatMsgsCollection = ChatMsgsCollection;
}, 98);

__d('WAWebReactionsCollection', [], (_global, require, _default, _namespace, _lazy, _module, exports) => {
  const { BaseCollection } = require('WAWebBaseCollection');
  const { BaseModel, defineModel } = require('WAWebBaseModel');

  class Reactions extends BaseModel {}
  defineModel(Reactions, { proxyName: 'reactions', props: ['id', 'reactions', 'reactionByMe'] });

  class ReactionsCollectionImpl extends BaseCollection {
    static model = Reactions;
  }
  exports.ReactionsCollection = new ReactionsCollectionImpl();
}, 98);

__d('WAWebReactionsBEUtils', [], (_global, require, _default, _namespace, _lazy, _module, exports) => {
  const { ReactionsCollection } = require('WAWebReactionsCollection');

  /**
   * Files one reaction under its message; no text takes it away. The page calls it through its
   * exports, with `isLive` for one that has just come.
   */
  exports.addOrUpdateReactionsModelCollection = async (reaction, _isLive) => {
    const { parentMsgKey, senderUserJid, reactionText } = reaction;
    const model = ReactionsCollection.gadd({ id: parentMsgKey, reactions: [] });
    const others = model.reactions.filter((other) => other.senderUserJid !== senderUserJid);
    model.set('reactions', reactionText ? [...others, reaction] : others);
    require('WAWebMsgCollection').MsgCollection.get(parentMsgKey)
      ?.set('hasReaction', model.reactions.length > 0);
  };
}, 98);

__d('WAWebAddonReactionTableMode', [], (_global, _require, _default, _namespace, _lazy, _module, exports) => {
  exports.reactionTableMode = { bulkUpsert: async () => {} };
}, 98);

__d('WAWebAddonPollVoteTableMode', [], (_global, _require, _default, _namespace, _lazy, _module, exports) => {
  exports.pollVoteTableMode = { bulkUpsert: async () => {} };
}, 98);
