import { fromBase64 } from '../../../util/base64.ts';
import { MODULE_BYTES, PTX } from './kernels.generated.ts';

/** PTX of all modules by name, each with a zero after it. */
export async function loadPtx(): Promise<ReadonlyMap<string, Uint8Array>> {
  const { brotliDecompress } = process.getBuiltinModule('node:zlib');
  const texts = await new Promise<Uint8Array>((resolve, reject) => {
    brotliDecompress(fromBase64(PTX), (error, result) => (error ? reject(error) : resolve(result)));
  });
  const modules = new Map<string, Uint8Array>();
  let begin = 0;
  for (const [name, bytes] of Object.entries(MODULE_BYTES)) {
    const ended = new Uint8Array(bytes + 1);
    ended.set(texts.subarray(begin, begin + bytes));
    modules.set(name, ended);
    begin += bytes;
  }
  return modules;
}
