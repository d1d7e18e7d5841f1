import { ModelNotFoundError } from '../../errors.ts';
import { isGguf } from '../net/urls.ts';
import { splitName, splitPart } from './split-name.ts';

/**
 * GGUF files that are no model of their own: parts of one for images, drafters, and statistics of a quantiser. The list
 * is llama.cpp's (`gguf_filename_is_model` in common/download.cpp).
 */
const OTHER_FILES = ['mmproj', 'imatrix', 'mtp-', 'eagle3-', 'dflash-', 'dspark-'] as const;

/** Quantisations that are taken where none is asked for, as llama.cpp takes them (`find_best_model`). */
const DEFAULTS = ['Q4_K_M', 'Q8_0'] as const;

/** A model in GGUF among the files of a folder. */
interface Candidate {
  /** Its file; the first one, if it is split. */
  readonly file: string;
  readonly quantization: string;
}

/** Whether some file of a folder is a model in GGUF. */
export function holdsGguf(files: readonly string[]): boolean {
  return candidatesIn(files).length > 0;
}

/** The files of each model in GGUF in a folder, parts that are not there included. */
export function ggufParts(files: readonly string[]): string[][] {
  return candidatesIn(files).map(({ file }) => partsOf(file));
}

/** The files of a model in GGUF, by the name of one of them. */
export function partsOf(file: string): string[] {
  const part = splitPart(file);
  if (part === undefined) return [file];
  return Array.from({ length: part.count }, (_, index) => splitName(part.stem, index, part.count));
}

/** The files of those models in GGUF of which all parts are there. */
export function wholeGgufs(files: readonly string[]): string[] {
  return ggufParts(files)
    .filter((parts) => parts.every((part) => files.includes(part)))
    .flat();
}

/** Quantisations of the models in GGUF among the files of a folder. */
export function quantizationsIn(files: readonly string[]): string[] {
  return candidatesIn(files).map(({ quantization }) => quantization);
}

/** The file of a quantisation; undefined where there is none. */
export function findGguf(files: readonly string[], tag: string): string | undefined {
  return candidatesOf(candidatesIn(files), tag).at(0)?.file;
}

/**
 * The model in GGUF among the files of a folder or a repository: the one of a quantisation or a file name, in any case
 * of letters; without one the only one, or that which llama.cpp would take.
 * @param tag quantisation, such as Q4_K_M, or the name of a file
 * @param where the folder or the repository, for messages
 * @throws ModelNotFoundError with a list of what is there
 */
export function chooseGguf(files: readonly string[], tag: string | undefined, where: string): string {
  const candidates = candidatesIn(files);
  const found = tag === undefined ? defaultOf(candidates) : candidatesOf(candidates, tag);
  if (found.length === 1) return found[0].file;
  const list = candidates.map(({ quantization }) => quantization).join(', ');
  if (candidates.length === 0) throw new ModelNotFoundError(`'${where}' holds no model in GGUF.`);
  if (found.length > 1) {
    throw new ModelNotFoundError(
      `'${where}' holds ${found.length} models in GGUF${tag === undefined ? '' : ` of the quantization '${tag}'`}: ${found.map(({ file }) => file).join(', ')}.`,
      `Name the file, as in '${where}:${found[0].file.replace(/^.*\//, '')}'.`,
    );
  }
  throw new ModelNotFoundError(
    tag === undefined
      ? `'${where}' holds ${candidates.length} models in GGUF, and no quantization was named.`
      : `'${where}' holds no model in GGUF of the quantization '${tag}'.`,
    `There are ${list}; name one, as in '${where}:${candidates[0].quantization}'.`,
  );
}

function candidatesIn(files: readonly string[]): Candidate[] {
  return files
    .filter((path) => {
      const name = path.replace(/^.*\//, '').toLowerCase();
      const isPart = (splitPart(name)?.index ?? 0) > 0;
      return isGguf(name) && !isPart && !OTHER_FILES.some((word) => name.includes(word));
    })
    .sort()
    .map((file) => ({ file, quantization: quantizationOf(file) }));
}

/**
 * The quantisation that the name of a file ends with, after '-' or '.', in the spelling of the file: Q4_K_M, IQ4_XS,
 * BF16, MXFP4_MOE, UD-Q4_K_XL. Of other names all but the ending.
 */
function quantizationOf(path: string): string {
  const name = path.replace(/^.*\//, '');
  const stem = splitPart(name)?.stem ?? name.replace(/\.gguf$/i, '');
  const [, found] = /(?:^|[-.])((?:UD-)?(?:I?Q|TQ|B?F|MXFP|NVFP)\d+\w*)$/i.exec(stem) ?? [];
  return found ?? stem;
}

function candidatesOf(candidates: readonly Candidate[], tag: string): Candidate[] {
  const asked = tag.toLowerCase();
  const matching = (nameOf: (candidate: Candidate) => string) =>
    candidates.filter((candidate) => nameOf(candidate).toLowerCase() === asked);
  const ways: ((candidate: Candidate) => string)[] = [
    ({ file }) => file,
    ({ file }) => file.replace(/^.*\//, ''),
    ({ quantization }) => quantization,
    // Unsloth's, where there is no other.
    ({ quantization }) => quantization.replace(/^UD-/i, ''),
  ];
  return ways.map(matching).find(({ length }) => length > 0) ?? [];
}

function defaultOf(candidates: readonly Candidate[]): Candidate[] {
  if (candidates.length <= 1) return [...candidates];
  return DEFAULTS.map((tag) => candidatesOf(candidates, tag)).find(({ length }) => length > 0) ?? [];
}
