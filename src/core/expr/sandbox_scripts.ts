// JavaScript that runs inside QuickJS: what stands around the user's code.

/**
 * Makes of a function of values a function of JSON texts that gives JSON text (or a promise of it).
 * What is thrown leaves as JSON text too, so that the host never runs code of a thrown object.
 * It takes what it needs from the globals before they can be reached by anyone else.
 */
export const harnessScript = `"use strict";
(({ parse, stringify }, P, S, E, then, call) => {
  const describe = (thrown) => {
    let name = 'Error', message
    try {
      if (thrown instanceof E) { name = S(thrown.name); message = S(thrown.message) }
      else message = typeof thrown === 'object' ? stringify(thrown) ?? S(thrown) : S(thrown)
    } catch { message = 'a value without a readable message was thrown' }
    return stringify({ name, message })
  }
  const print = (value) => {
    try { return stringify(value) ?? 'null' } catch (thrown) { throw describe(thrown) }
  }
  return (run) => (...texts) => {
    let value
    try {
      value = run(...texts.map((text) => parse(text)))
    } catch (thrown) { throw describe(thrown) }
    return value instanceof P ? then.call(value, print, (thrown) => { throw describe(thrown) }) : print(value)
  }
})(JSON, Promise, String, Error, Promise.prototype.then)`

/**
 * Freezes everything reachable from the globals. On the two prototypes whose properties programs shadow all the time
 * (an object with a key 'toString', an error with a message of its own), assigning still makes an own property.
 */
export const freezeScript = `"use strict";
(() => {
  const shadowable = (prototype) => {
    for (const key of Reflect.ownKeys(prototype)) {
      const property = Object.getOwnPropertyDescriptor(prototype, key)
      if (!('value' in property) || !property.configurable) continue
      const value = property.value
      Object.defineProperty(prototype, key, {
        configurable: false,
        enumerable: property.enumerable,
        get() { return value },
        set(own) {
          if (this === prototype) throw new TypeError('built-in objects are read-only in expressions')
          Object.defineProperty(this, key, { value: own, writable: true, enumerable: true, configurable: true })
        },
      })
    }
  }
  shadowable(Object.prototype)
  shadowable(Error.prototype)
  for (const kind of [TypeError, RangeError, SyntaxError, ReferenceError, EvalError, URIError]) shadowable(kind.prototype)
  const hidden = [
    function* () {}, async function () {}, async function* () {},
    [][Symbol.iterator](), new Map()[Symbol.iterator](), new Set()[Symbol.iterator](), ''[Symbol.iterator](),
    'a'.matchAll(/a/g), (function* () {})(), (async function* () {})(),
  ].map((object) => Object.getPrototypeOf(object))
  const seen = new Set()
  const freeze = (object) => {
    if (object === null || (typeof object !== 'object' && typeof object !== 'function') || seen.has(object)) return
    seen.add(object)
    freeze(Object.getPrototypeOf(object))
    for (const key of Reflect.ownKeys(object)) {
      const property = Object.getOwnPropertyDescriptor(object, key)
      freeze(property.value)
      freeze(property.get)
      freeze(property.set)
    }
    Object.freeze(object)
  }
  for (const object of hidden) freeze(object)
  freeze(globalThis)
})()`
