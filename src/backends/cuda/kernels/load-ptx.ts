import { fromBase64 } from '../../../util/base64.ts';
import { MODULES } from './kernels.generated.ts';

/** PTX of all modules by name, each with a zero after it. */
export async function loadPtx(): Promise<ReadonlyMap<string, Uint8Array>> {
  const entries = Object.entries(MODULES).map(async ([name, base64]) => [name, await inflate(base64)] as const);
  return new Map(await Promise.all(entries));
}

async function inflate(base64: string): Promise<Uint8Array> {
  const stream = new Blob([fromBase64(base64)]).stream().pipeThrough(new DecompressionStream('deflate-raw'));
  const text = new Uint8Array(await new Response(stream).arrayBuffer());
  const ended = new Uint8Array(text.length + 1);
  ended.set(text);
  return ended;
}
