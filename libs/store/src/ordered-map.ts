/**
 * An ordered map from string to value whose copy costs the same however large it is: copies share their nodes and
 * a write copies only the few nodes above its key. A map that a view holds is never written again.
 */
import sortedBtree from 'sorted-btree';

/** By UTF-16 code unit, never by locale: every member must order keys alike. */
function compareKeys(a: string, b: string): number {
  if (a < b) return -1;
  return a > b ? 1 : 0;
}

export class OrderedMap<V> {
  private constructor(private readonly tree: sortedBtree.default<string, V>) {}

  static empty<V>(): OrderedMap<V> {
    return new OrderedMap<V>(new sortedBtree.default<string, V>(undefined, compareKeys));
  }

  copy(): OrderedMap<V> {
    return new OrderedMap<V>(this.tree.clone());
  }

  get size(): number {
    return this.tree.size;
  }

  get(key: string): V | undefined {
    return this.tree.get(key);
  }

  set(key: string, value: V): void {
    this.tree.set(key, value);
  }

  delete(key: string): void {
    this.tree.delete(key);
  }

  /** In ascending order of key; may be walked any number of times. */
  values(): Iterable<V> {
    return { [Symbol.iterator]: () => this.tree.values() };
  }

  /** The values whose key begins with `prefix` followed by anything, in ascending order of key. */
  withPrefix(prefix: string): V[] {
    const found: V[] = [];
    // U+FFFF is no character: no key of ours contains it.
    this.tree.forRange(prefix, `${prefix}\uffff`, false, (_key, value) => {
      found.push(value);
    });
    return found;
  }
}
