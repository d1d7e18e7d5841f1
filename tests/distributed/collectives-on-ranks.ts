import type { ProcessGroup } from '../../src/distributed/process-group.ts';

/** What the collective tests run on every rank. Each rank knows all ranks' data and takes its own. */
export interface CollectiveInput {
  readonly data: readonly Float32Array[];
}

export function allReduce(group: ProcessGroup, { data }: CollectiveInput): Float32Array {
  const own = data[group.rank].slice();
  group.allReduce([own]);
  return own;
}

export function allGather(group: ProcessGroup, { data }: CollectiveInput): Float32Array {
  return gathered(group, data[group.rank]);
}

/** The ranks' arrays one after another. */
export function gathered(group: ProcessGroup, data: Float32Array): Float32Array {
  const all = new Float32Array(group.size * data.length);
  // In two arrays, whose halves belong to different windows where they are long.
  const middle = data.length >> 1;
  const out = Array.from({ length: group.size }, (_, r) => {
    const part = all.subarray(r * data.length, (r + 1) * data.length);
    return [part.subarray(0, middle), part.subarray(middle)];
  });
  group.allGather([data.subarray(0, middle), data.subarray(middle)], out);
  return all;
}

export function broadcast(group: ProcessGroup, { data, source }: CollectiveInput & { source: number }): Float32Array {
  const own = data[group.rank].slice();
  group.broadcast(own, source);
  return own;
}

/** Many small collectives of all kinds without a pause; returns a checksum of every one. */
export function manyCollectives(group: ProcessGroup, { rounds }: { rounds: number }): Float32Array {
  const seen = new Float32Array(rounds);
  for (let i = 0; i < rounds; i++) {
    const length = 1 + (i % 7);
    const data = new Float32Array(length).fill(group.rank * 1000 + i);
    if (i % 3 === 0) group.allReduce([data]);
    if (i % 3 === 1) group.broadcast(data, i % group.size);
    const result = i % 3 === 2 ? gathered(group, data) : data;
    seen[i] = result.reduce((sum, value, j) => sum + value * (j + 1), 0);
  }
  return seen;
}

/** Rank `failing` throws after some rounds; the others go on to the next exchange. */
export function failAfter(group: ProcessGroup, { failing, rounds }: { failing: number; rounds: number }): number {
  const data = new Float32Array(8);
  for (let i = 0; i < rounds; i++) group.allReduce([data]);
  if (group.rank === failing) throw new RangeError(`Rank ${failing} gives up.`);
  group.allReduce([data]);
  return group.rank;
}

/** The thread dies in a way that no try block sees. */
export async function die(group: ProcessGroup, { failing }: { failing: number }): Promise<number> {
  if (group.rank === failing) {
    setImmediate(() => {
      throw new TypeError('Nobody catches this.');
    });
    await new Promise((resolve) => setTimeout(resolve, 10_000));
  }
  group.allReduce([new Float32Array(8)]);
  return group.rank;
}
