/*
 * The socket to the simulator's server (docs/simulator-protocol.md): opens it, keeps it alive,
 * opens it again after a loss. Frames in and out; what they mean is the session's business.
 */
'use strict';

__d('SimLink', [], (_global, require, _default, _namespace, _lazy, module) => {
  const { reconnect, heartbeat } = require('SimAssumptions');

  const BAD_FRAME = 4400;

  class Link {
    /**
     * `handlers`: one function per kind of frame; `onOpen()` and `onDown(closeCode)` tell of the
     * socket. While `held` is true a lost socket is not opened again.
     */
    constructor({ handlers, onOpen, onDown }) {
      this.handlers = handlers;
      this.onOpen = onOpen;
      this.onDown = onDown;
      this.socket = null;
      this.pauseMs = reconnect.firstMs;
      this.timer = null;
      this.pulse = null;
      this.stopped = false;
      this.held = false;
      // Frames are handled one after the other: a later one may rest on what an earlier one stored.
      this.tail = Promise.resolve();
    }

    connect() {
      clearTimeout(this.timer);
      this.timer = null;
      if (this.stopped || this.held || this.socket || !navigator.onLine) {
        return;
      }
      const scheme = location.protocol === 'https:' ? 'wss:' : 'ws:';
      const socket = new WebSocket(`${scheme}//${location.host}/ws`);
      this.socket = socket;
      socket.onopen = () => {
        this.beat();
        this.onOpen();
      };
      socket.onmessage = (event) => this.receive(socket, JSON.parse(event.data));
      socket.onclose = (event) => this.down(socket, event.code);
    }

    receive(socket, frame) {
      if (frame.k === 'ping') {
        this.send({ k: 'pong' });
        return;
      }
      if (frame.k === 'pong') {
        this.unanswered = 0;
        return;
      }
      const handler = this.handlers[frame.k];
      if (!handler) {
        socket.close(BAD_FRAME, `unknown kind ${frame.k}`);
        return;
      }
      this.tail = this.tail
        .then(() => (socket === this.socket ? handler(frame) : null))
        .catch((error) => {
          console.error(`frame ${frame.k} failed`, error);
          this.restart();
        });
    }

    beat() {
      this.unanswered = 0;
      this.pulse = setInterval(() => {
        if (this.unanswered >= heartbeat.misses) {
          this.restart();
          return;
        }
        this.unanswered += 1;
        this.send({ k: 'ping' });
      }, heartbeat.periodMs);
    }

    /** Whether the frame went into an open socket; the server may still never see it. */
    send(frame) {
      if (this.socket?.readyState !== WebSocket.OPEN) {
        return false;
      }
      this.socket.send(JSON.stringify(frame));
      return true;
    }

    /** The connection is good again: the next loss starts with the shortest pause. */
    settle() {
      this.pauseMs = reconnect.firstMs;
    }

    down(socket, code) {
      if (socket !== this.socket) {
        return;
      }
      this.socket = null;
      clearInterval(this.pulse);
      this.onDown(code);
      if (!this.stopped && !this.held && !this.timer) {
        this.timer = setTimeout(() => this.connect(), Math.random() * this.pauseMs);
        this.pauseMs = Math.min(this.pauseMs * reconnect.factor, reconnect.longestMs);
      }
    }

    restart() {
      const socket = this.socket;
      if (socket) {
        socket.onclose = null;
        socket.close();
        this.down(socket);
      }
    }

    stop() {
      this.stopped = true;
      clearTimeout(this.timer);
      this.restart();
    }
  }

  module.exports = { Link };
}, 66);
