/**
 * A Map that refuses changes at run time too: `Object.freeze` alone does not stop `set`.
 * A configuration is shared by every connection; a stray write must fail loudly at its author.
 */
function refuse(): never {
  throw new TypeError('a loaded configuration cannot be changed');
}

/** Freezes `map` itself and returns it as read-only. */
export function frozenMap<K, V>(map: Map<K, V>): ReadonlyMap<K, V> {
  for (const method of ['set', 'delete', 'clear']) Object.defineProperty(map, method, { value: refuse });
  return Object.freeze(map);
}
