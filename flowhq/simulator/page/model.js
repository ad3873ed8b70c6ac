/*
 * Events, models and collections in the manner of Backbone, as the page's clients know them:
 * own `__x_<prop>` values, accessors on the prototype, `change:<prop>` before `change`, and
 * every event of a model repeated on its collections.
 */
'use strict';

__d('WAWebEventEmitter', [], (_global, _require, _default, _namespace, _lazy, _module, exports) => {
  class EventEmitter {
    on(names, callback, context) {
      if (typeof callback !== 'function') {
        throw new TypeError('Callback parameter passed is not a function');
      }
      for (const name of names.split(/\s+/)) {
        this.handlers(name).push({ callback, context, original: callback });
      }
      return this;
    }

    once(names, callback, context) {
      for (const name of names.split(/\s+/)) {
        const entry = { context, original: callback };
        entry.callback = (...args) => {
          this.off(name, callback, context);
          callback.apply(context || this, args);
        };
        this.handlers(name).push(entry);
      }
      return this;
    }

    off(names, callback, context) {
      const all = this.handlerTable();
      for (const name of names ? names.split(/\s+/) : [...all.keys()]) {
        const kept = (all.get(name) || []).filter(
          (entry) => (callback && entry.original !== callback)
            || (context && entry.context !== context),
        );
        all.set(name, kept);
      }
      return this;
    }

    trigger(name, ...args) {
      const all = this.handlerTable();
      for (const entry of [...(all.get(name) || [])]) {
        entry.callback.apply(entry.context || this, args);
      }
      for (const entry of [...(all.get('all') || [])]) {
        entry.callback.apply(entry.context || this, [name, ...args]);
      }
      return this;
    }

    listenTo(other, names, callback) {
      other.on(names, callback, this);
      return this;
    }

    stopListening(other, names, callback) {
      other?.off(names, callback, this);
      return this;
    }

    handlerTable() {
      if (!this._events) {
        Object.defineProperty(this, '_events', { value: new Map() });
      }
      return this._events;
    }

    handlers(name) {
      const all = this.handlerTable();
      if (!all.has(name)) {
        all.set(name, []);
      }
      return all.get(name);
    }
  }
  exports.default = EventEmitter;
}, 98);

__d('WAWebBaseModel', [], (_global, require, _default, _namespace, _lazy, _module, exports) => {
  const EventEmitter = require('WAWebEventEmitter').default;

  function declare(modelClass, prop) {
    const own = `__x_${prop}`;
    Object.defineProperty(modelClass.prototype, prop, {
      configurable: true,
      enumerable: true,
      get() {
        return this[own];
      },
      set(value) {
        this.set(prop, value);
      },
    });
  }

  function same(left, right) {
    if (left === right) {
      return true;
    }
    return typeof left?.equals === 'function' && Boolean(left.equals(right));
  }

  class BaseModel extends EventEmitter {
    constructor(attributes = {}) {
      super();
      Object.defineProperty(this, 'collections', { value: new Set() });
      const defaults = this.constructor.prototype.__defaults || {};
      this.set({ ...defaults, ...attributes }, { silent: true });
      this.initialize();
    }

    initialize() {}

    set(name, value, options = {}) {
      const changes = typeof name === 'string' ? { [name]: value } : name;
      const { silent } = typeof name === 'string' ? options : value || {};
      const changed = [];
      for (const [prop, next] of Object.entries(changes)) {
        if (!this.constructor.prototype.__known.has(prop)) {
          this.constructor.prototype.__known.add(prop);
          if (!(prop in this.constructor.prototype)) {
            declare(this.constructor, prop);
          }
        }
        const previous = this[`__x_${prop}`];
        if (!same(previous, next)) {
          this[`__x_${prop}`] = next;
          changed.push([prop, next, previous]);
        }
      }
      if (!silent && changed.length) {
        for (const [prop, next, previous] of changed) {
          this.trigger(`change:${prop}`, this, next, previous);
        }
        this.trigger('change', this);
      }
      return this;
    }

    unset(prop, options) {
      return this.set(prop, undefined, options);
    }

    get(prop) {
      return this[prop];
    }

    trigger(name, ...args) {
      super.trigger(name, ...args);
      for (const collection of this.collections) {
        collection.trigger(name, ...args);
      }
      return this;
    }

    get attributes() {
      const found = {};
      for (const key of Object.keys(this)) {
        if (key.startsWith('__x_') && this[key] !== undefined
            && !this.constructor.prototype.__session.has(key.slice(4))) {
          found[key.slice(4)] = this[key];
        }
      }
      return found;
    }

    serialize() {
      const found = this.attributes;
      for (const prop of this.constructor.prototype.__serialized) {
        if (this[prop] !== undefined) {
          found[prop] = this[prop];
        }
      }
      return found;
    }

    toJSON() {
      return this.serialize();
    }

    safe() {
      return this;
    }

    unsafe() {
      return this;
    }
  }

  /**
   * Turns a class into a model class. `props` are stored and serialised, `session` ones are
   * neither, `derived` are computed on reading, `serialized` names session props to serialise.
   */
  function defineModel(modelClass, {
    proxyName, props = [], session = [], derived = {}, defaults = {}, serialized = [],
  }) {
    const { prototype } = modelClass;
    prototype.proxyName = proxyName;
    Object.defineProperties(prototype, {
      __props: { value: props },
      __session: { value: new Set(session) },
      __known: { value: new Set([...props, ...session]) },
      __defaults: { value: defaults },
      __serialized: { value: serialized },
    });
    for (const prop of [...props, ...session]) {
      declare(modelClass, prop);
    }
    for (const [prop, get] of Object.entries(derived)) {
      Object.defineProperty(prototype, prop, {
        configurable: true,
        get() {
          return get(this);
        },
      });
    }
    return modelClass;
  }

  exports.BaseModel = BaseModel;
  exports.defineModel = defineModel;
}, 98);

__d('WAWebBaseCollection', [], (_global, require, _default, _namespace, _lazy, _module, exports) => {
  const EventEmitter = require('WAWebEventEmitter').default;

  /** The text under which a model, its attributes, an id object or an id text is filed. */
  function keyOf(thing) {
    if (thing === null || thing === undefined) {
      return '';
    }
    if (typeof thing === 'string') {
      return thing;
    }
    const isKey = thing.remote !== undefined || thing.server !== undefined;
    return isKey || thing.id === undefined ? thing.toString() : thing.id.toString();
  }

  class BaseCollection extends EventEmitter {
    constructor() {
      super();
      this._models = [];
      this._byId = new Map();
      this.initialize();
    }

    initialize() {}

    get modelClass() {
      return this.constructor.model;
    }

    get length() {
      return this._models.length;
    }

    get models() {
      return this._models;
    }

    get(thing) {
      return this._byId.get(keyOf(thing));
    }

    /** Adds one or many; of those already here nothing is fired, and with `merge` they are updated. */
    add(things, { merge = false, silent = false, at } = {}) {
      const result = (Array.isArray(things) ? things : [things]).map((thing) => {
        const existing = this.get(thing);
        if (existing) {
          if (merge && thing !== existing) {
            existing.set(thing.attributes || thing);
          }
          return existing;
        }
        const model = thing instanceof this.modelClass ? thing : new this.modelClass(thing);
        this._byId.set(keyOf(model), model);
        this._models.splice(at ?? this._models.length, 0, model);
        model.collections.add(this);
        if (!silent) {
          this.trigger('add', model, this);
        }
        return model;
      });
      return result;
    }

    gadd(thing, options) {
      const attributes = thing?.server !== undefined ? { id: thing } : thing;
      return this.get(attributes) || this.add(attributes, options)[0];
    }

    async find(id) {
      return this.gadd(id);
    }

    remove(things, { silent = false } = {}) {
      for (const thing of Array.isArray(things) ? things : [things]) {
        const model = this.get(thing);
        if (model) {
          this._byId.delete(keyOf(model));
          this._models.splice(this._models.indexOf(model), 1);
          if (!silent) {
            this.trigger('remove', model, this);
          }
          model.collections.delete(this);
        }
      }
      return this;
    }

    reset() {
      for (const model of this._models) {
        model.collections.delete(this);
      }
      this._models.length = 0;
      this._byId.clear();
      return this.trigger('reset', this);
    }

    sort(comparator) {
      this._models.sort(comparator);
      return this.trigger('sort', this);
    }

    getModelsArray() {
      return this._models;
    }

    toArray() {
      return [...this._models];
    }

    findFirst(predicate) {
      return this._models.find(predicate);
    }

    head() {
      return this._models[0];
    }

    last() {
      return this._models[this._models.length - 1];
    }

    at(index) {
      return this._models.at(index);
    }

    map(callback) {
      return this._models.map(callback);
    }

    filter(callback) {
      return this._models.filter(callback);
    }

    forEach(callback) {
      this._models.forEach(callback);
    }

    some(callback) {
      return this._models.some(callback);
    }

    every(callback) {
      return this._models.every(callback);
    }

    [Symbol.iterator]() {
      return this._models[Symbol.iterator]();
    }

    serialize() {
      return this._models.map((model) => model.serialize());
    }

    toJSON() {
      return this.serialize();
    }
  }

  exports.BaseCollection = BaseCollection;
}, 98);
