/*
 * What this browser proves itself with: the keys shown in the QR code, and after the pairing an
 * ECDSA key that never leaves the profile (WebCrypto, not extractable, kept in IndexedDB).
 */
'use strict';

__d('SimBase64', [], (_global, _require, _default, _namespace, _lazy, module) => {
  const bytesOf = (data) => (data instanceof Uint8Array ? data : new Uint8Array(data));
  module.exports = {
    encodeB64: (data) => btoa(String.fromCharCode(...bytesOf(data))),
    decodeB64: (text) => Uint8Array.from(atob(text), (char) => char.charCodeAt(0)).buffer,
  };
}, 66);

__d('SimCredentials', [], (_global, require, _default, _namespace, _lazy, module) => {
  const store = require('SimStore');
  const state = require('SimState');
  const { encodeB64, decodeB64 } = require('SimBase64');

  const KEY_BYTES = 32;
  const SIGNING = { name: 'ECDSA', namedCurve: 'P-256' };

  const random = () => crypto.getRandomValues(new Uint8Array(KEY_BYTES));

  /** Reads what an earlier page left in the profile, or makes new keys for the code. */
  async function load() {
    state.pairing = (await store.getRegistration('pairing')) || null;
    state.registration = await store.getRegistration('keys');
    if (!state.registration) {
      state.registration = { noise: random(), identity: random(), advSecret: encodeB64(random()) };
      await store.putRegistration('keys', state.registration);
    }
  }

  async function sha256Hex(text) {
    const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(text));
    return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, '0')).join('');
  }

  async function hello() {
    const ua = navigator.userAgent;
    if (state.pairing) {
      return { k: 'hello', device: state.pairing.device, ua };
    }
    const { noise, identity, advSecret } = state.registration;
    return {
      k: 'hello',
      device: null,
      noise: encodeB64(noise),
      identity: encodeB64(identity),
      adv_sha256: await sha256Hex(advSecret),
      ua,
    };
  }

  /** Makes the device's key, stores the pairing, and returns the public key for the server. */
  async function storePairing({ device, phone, lid, pushname, platform }) {
    const { privateKey, publicKey } = await crypto.subtle.generateKey(SIGNING, false, ['sign', 'verify']);
    state.pairing = { device, phone, lid, pushname, platform, privateKey };
    await store.putRegistration('pairing', state.pairing);
    return encodeB64(await crypto.subtle.exportKey('spki', publicKey));
  }

  async function updatePairing({ phone, lid, pushname, platform }) {
    state.pairing = { ...state.pairing, phone, lid, pushname, platform };
    await store.putRegistration('pairing', state.pairing);
  }

  async function sign(nonce) {
    const signature = await crypto.subtle.sign(
      { name: 'ECDSA', hash: 'SHA-256' }, state.pairing.privateKey, decodeB64(nonce),
    );
    return encodeB64(signature);
  }

  async function forget() {
    await store.clear();
    localStorage.clear();
    state.pairing = null;
  }

  module.exports = { load, hello, storePairing, updatePairing, sign, forget };
}, 66);
