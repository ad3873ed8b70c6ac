/*
 * The page's module system: the surface of it that clients of WhatsApp Web hold on to
 * (`__d`, `require`, `importNamespace`, `ErrorGuard`, `__debug`).
 * Knows nothing of WhatsApp. Modules named WA* (and react) are held back until SimLoader.release(),
 * so that tests can make the page slow to assemble or leave modules out.
 */
'use strict';

(() => {
  /** Bit of the flags argument of `__d` that marks an ES module: 98 has it, 66 (CommonJS) has not. */
  const ES_MODULE = 32;
  /** Number of pieces in which held modules arrive when there is a delay, as a bootloader would. */
  const RELEASE_PIECES = 4;

  const modulesMap = Object.create(null);
  let held = [];
  let holding = true;

  function register(id, dependencies, factory, flags) {
    modulesMap[id] = {
      id,
      dependencies,
      factory,
      isEsModule: (flags & ES_MODULE) !== 0,
      module: { exports: {} },
      namespace: null,
      started: false,
      failed: null,
    };
  }

  function define(id, dependencies, factory, flags = 66) {
    if (holding && !id.startsWith('Sim') && id !== '__debug') {
      held.push([id, dependencies, factory, flags]);
      return;
    }
    register(id, dependencies, factory, flags);
  }

  function resolve(id) {
    const record = modulesMap[id];
    if (!record) {
      throw new Error(`Requiring unknown module "${id}"`);
    }
    if (record.failed) {
      throw record.failed;
    }
    if (!record.started) {
      record.started = true;
      try {
        const { module } = record;
        record.factory(
          window, require, importDefault, importNamespace, requireLazy, module, module.exports,
        );
      } catch (error) {
        record.failed = error;
        throw error;
      }
    }
    return record;
  }

  function require(id) {
    return resolve(id).module.exports;
  }

  function importDefault(id) {
    const record = resolve(id);
    return record.isEsModule ? record.module.exports.default : record.module.exports;
  }

  /** The very exports object of an ES module: clients replace functions on it and the page calls those. */
  function importNamespace(id) {
    const record = resolve(id);
    if (record.isEsModule) {
      return record.module.exports;
    }
    if (!record.namespace) {
      record.namespace = { ...record.module.exports, default: record.module.exports };
    }
    return record.namespace;
  }

  function requireLazy(ids, callback) {
    callback(...ids.map(require));
  }

  /** Resolves when every held module that is not in `drop` has been registered. */
  async function release({ delayMs, drop }) {
    const waiting = held.filter(([id]) => !drop.includes(id));
    const pieces = delayMs > 0 ? RELEASE_PIECES : 1;
    const size = Math.ceil(waiting.length / pieces);
    for (let piece = 0; piece < pieces; piece += 1) {
      if (delayMs > 0) {
        await new Promise((done) => setTimeout(done, delayMs / pieces));
      }
      for (const entry of waiting.slice(piece * size, (piece + 1) * size)) {
        register(...entry);
      }
    }
    held = [];
    holding = false;
  }

  window.ErrorGuard = {
    skipGuardGlobal() {},
    applyWithGuard: (callback, context, args) => callback.apply(context, args || []),
  };
  window.importNamespace = importNamespace;
  window.importDefault = importDefault;
  window.requireLazy = requireLazy;
  window.__d = define;
  window.require = require;

  define('__debug', [], (_g, _r, _d, _n, _l, module) => {
    // Empty until the last module is there: clients take a map that stopped growing for complete.
    module.exports = { get modulesMap() { return holding ? {} : modulesMap; } };
  });
  define('SimLoader', [], (_g, _r, _d, _n, _l, module) => {
    module.exports = { release };
  });
  define('react', [], (_g, _r, _d, _n, _l, module) => {
    class Component {}
    class PureComponent extends Component {}
    module.exports = { Component, PureComponent };
  });
  define('WAWebReact', [], (_g, req, _d, _n, _l, module) => {
    module.exports = req('react');
  });
  define('Bootloader', [], (_g, _r, _d, _n, _l, module) => {
    module.exports = { loadModules: (_ids, loaded) => loaded() };
  });
})();
