import { GgufError, ModelNotFoundError } from '../../errors.ts';
import type { ByteSource } from '../files/byte-source.ts';
import type { ModelFiles } from '../files/model-files.ts';
import type { StoredTensor } from '../files/stored-tensor.ts';
import type { Gguf } from './gguf.ts';
import { ggufTensor, readGgufHeader } from './gguf-file.ts';
import type { GgufHeader } from './gguf-header.ts';
import { applyScales } from './scaled-tensor.ts';
import { splitName, splitPart } from './split-name.ts';

interface Part {
  readonly file: string;
  readonly source: ByteSource;
  readonly header: GgufHeader;
}

/**
 * Opens a model in GGUF: reads its header, and those of all parts if it is split. `file` is any of them. Rejects with
 * ModelNotFoundError when a file is not there, and with GgufError when one is malformed or the parts do not belong
 * together.
 */
export async function openGguf(files: ModelFiles, file: string, signal?: AbortSignal | undefined): Promise<Gguf> {
  const parts = await openParts(files, file, signal);
  const tensors = new Map<string, StoredTensor>();
  for (const { file: name, source, header } of parts) {
    for (const info of header.tensors.values()) {
      const other = tensors.get(info.name);
      if (other !== undefined) {
        throw new GgufError(
          `'${files.location}': tensor '${info.name}' is in both '${other.file}' and '${name}'.`,
          'Parts of different conversions were mixed; download them again.',
        );
      }
      tensors.set(info.name, ggufTensor(source, info, name));
    }
  }
  const [{ source, header }] = parts;
  const claimed = parts.length > 1 ? header.metadata.optionalInteger('split.tensors.count') : undefined;
  if (claimed !== undefined && claimed !== tensors.size) {
    throw new GgufError(
      `${source.name}: the parts should hold ${claimed} tensors together, but hold ${tensors.size}.`,
      'Parts of different conversions were mixed; download them again.',
    );
  }
  const versions = parts.flatMap((part) => part.source.version ?? []);
  const { name } = source;
  return { name, metadata: header.metadata, tensors: applyScales(tensors, name), versions };
}

/** The parts in their order: those after the first lie next to it, and say which ones they are. */
async function openParts(
  files: ModelFiles,
  file: string,
  signal: AbortSignal | undefined,
): Promise<readonly [Part, ...Part[]]> {
  const opened = await openPart(files, file, signal);
  const count = splitCount(opened);
  if (count <= 1) return [opened];
  const named = splitPart(file);
  if (named === undefined || named.count !== count) {
    throw new GgufError(
      `${opened.source.name}: the file is one of ${count} parts, which its name does not say.`,
      `Give the parts the names that they had, as in '${splitName('model', 0, count)}'.`,
    );
  }
  const part = async (index: number) => {
    const name = splitName(named.stem, index, count);
    return assertPart(name === file ? opened : await openPart(files, name, signal), index, count);
  };
  const parts: [Part, ...Part[]] = [await part(0)];
  for (let index = 1; index < count; index++) parts.push(await part(index));
  return parts;
}

async function openPart(files: ModelFiles, file: string, signal: AbortSignal | undefined): Promise<Part> {
  signal?.throwIfAborted();
  const source = await files.open(file);
  if (source !== undefined) return { file, source, header: await readGgufHeader(source) };
  const { index, count } = splitPart(file) ?? { index: 0, count: 1 };
  const isPart = count > 1 ? `: part ${index + 1} of ${count} is missing` : '';
  throw new ModelNotFoundError(
    `There is no file '${files.nameOf(file)}'${isPart}.`,
    count > 1 ? 'All parts must lie in one folder; download the missing ones.' : 'Check path and permissions.',
  );
}

function splitCount({ header }: Part): number {
  return header.metadata.optionalInteger('split.count') ?? 1;
}

/** @throws GgufError when a file says that it is another part: copies and links make a model whole in its names only. */
function assertPart(part: Part, index: number, count: number): Part {
  const said = part.header.metadata.optionalInteger('split.no') ?? 0;
  const saidCount = splitCount(part);
  if (said === index && saidCount === count) return part;
  throw new GgufError(
    `${part.source.name}: the file says that it is part ${said + 1} of ${saidCount}, but its name says ${index + 1} of ${count}.`,
    'Give the parts the names that they had, or download them again.',
  );
}
