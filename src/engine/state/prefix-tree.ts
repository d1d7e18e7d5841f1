/** Node of a `PrefixTree`. */
export interface PrefixNode<V> {
  /** Tokens from the parent to here. */
  edge: Int32Array;
  parent: PrefixNode<V> | undefined;
  /** Children by the first token of their edge. */
  readonly children: Map<number, PrefixNode<V>>;
  value: V | undefined;
}

/**
 * Values by sequences of tokens, for finding the longest known beginning of a sequence. A radix tree: what sequences
 * share is stored and compared once, and every token is compared.
 */
export class PrefixTree<V extends object> {
  readonly #root: PrefixNode<V> = { edge: new Int32Array(), parent: undefined, children: new Map(), value: undefined };

  /** The node of the first `length` tokens, made where it is missing. It stays that sequence's until it is pruned. */
  node(tokenIds: readonly number[], length: number): PrefixNode<V> {
    let node = this.#root;
    let depth = 0;
    while (depth < length) {
      const child = node.children.get(tokenIds[depth]);
      if (!child) return addChild(node, Int32Array.from(tokenIds.slice(depth, length)));
      const shared = sharedLength(child.edge, tokenIds, depth, length);
      depth += shared;
      node = shared === child.edge.length ? child : split(child, shared);
    }
    return node;
  }

  /** The value of the longest beginning of the tokens that has one which is accepted. */
  longest(tokenIds: readonly number[], accept: (value: V) => boolean): V | undefined {
    let node: PrefixNode<V> | undefined = this.#root;
    let found: V | undefined;
    let depth = 0;
    for (;;) {
      if (node.value !== undefined && accept(node.value)) found = node.value;
      node = node.children.get(tokenIds[depth]);
      if (!node || sharedLength(node.edge, tokenIds, depth, tokenIds.length) < node.edge.length) return found;
      depth += node.edge.length;
    }
  }

  /** Whether there is no value. */
  get isEmpty(): boolean {
    return this.#root.value === undefined && this.#root.children.size === 0;
  }

  /** All values, in no order. */
  *values(): Generator<V> {
    const nodes = [this.#root];
    for (let node = nodes.pop(); node; node = nodes.pop()) {
      if (node.value !== undefined) yield node.value;
      for (const child of node.children.values()) nodes.push(child);
    }
  }

  /** Takes a node's value away, and with it what only led there. */
  remove(node: PrefixNode<V>): void {
    node.value = undefined;
    const { parent } = node;
    if (!parent) return;
    if (node.children.size > 1) return;
    const [child] = node.children.values();
    if (child) {
      parent.children.set(node.edge[0], child);
      child.edge = joined(node.edge, child.edge);
      child.parent = parent;
      return;
    }
    parent.children.delete(node.edge[0]);
    if (parent.value === undefined) this.remove(parent);
  }
}

function addChild<V>(parent: PrefixNode<V>, edge: Int32Array): PrefixNode<V> {
  const child: PrefixNode<V> = { edge, parent, children: new Map(), value: undefined };
  parent.children.set(edge[0], child);
  return child;
}

/** A node in the middle of the edge that leads to `node`, which keeps its identity. */
function split<V>(node: PrefixNode<V>, at: number): PrefixNode<V> {
  // Both first: where memory is missing, the tree stays as it is.
  const [before, after] = [node.edge.slice(0, at), node.edge.slice(at)];
  const middle: PrefixNode<V> = { edge: before, parent: node.parent, children: new Map(), value: undefined };
  node.parent?.children.set(middle.edge[0], middle);
  node.edge = after;
  node.parent = middle;
  middle.children.set(node.edge[0], node);
  return middle;
}

/** Number of the edge's first tokens that are the same as those from `begin` on. */
function sharedLength(edge: Int32Array, tokenIds: readonly number[], begin: number, end: number): number {
  const most = Math.min(edge.length, end - begin);
  let shared = 0;
  while (shared < most && edge[shared] === tokenIds[begin + shared]) shared++;
  return shared;
}

function joined(first: Int32Array, second: Int32Array): Int32Array {
  const edge = new Int32Array(first.length + second.length);
  edge.set(first);
  edge.set(second, first.length);
  return edge;
}
