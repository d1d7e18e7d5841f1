import { Tokenizer } from '@huggingface/tokenizers';
import type { JsonObject, JsonValue } from '../checkpoint/json/json.ts';
import { TokenizerError } from '../errors.ts';
import { withUnicodeSpaces } from './tokenizer-json.ts';

/**
 * The parts of the library's tokenizer that are used. The library's own declarations do not resolve in Node's modules.
 */
export interface LibraryTokenizer {
  readonly normalizer: ((text: string) => string) | null;
  readonly pre_tokenizer: ((text: string, options: { readonly section_index: number }) => string[]) | null;
  readonly model: LibraryModel;
  readonly post_processor:
    | ((tokens: string[], pair: null, addSpecialTokens: boolean) => { readonly tokens: string[] })
    | null;
  readonly decoder: { decode_chain(tokens: string[]): string[] } | null;
}

/** Words to tokens. */
export interface LibraryModel {
  (words: string[]): string[];
  /** Tokens by id, with gaps. */
  readonly vocab: readonly (string | undefined)[];
  readonly tokens_to_ids: ReadonlyMap<string, number>;
  readonly unk_token_id?: number | undefined;
}

// In Rust an absent part is null; this library needs every key.
const NO_PARTS = { added_tokens: [], normalizer: null, pre_tokenizer: null, post_processor: null, decoder: null };

/**
 * The library's tokenizer, without added tokens and without a decoder: those are ours.
 * @param named some of its models need `eos_token` and others
 * @throws TokenizerError
 */
export function createLibraryTokenizer(json: JsonObject, named: ReadonlyMap<string, string>): LibraryTokenizer {
  return create(
    { ...NO_PARTS, ...withUnicodeSpaces(json), added_tokens: [], decoder: null },
    Object.fromEntries(named),
  );
}

/** Decodes a list of tokens with one of the library's decoders. @throws TokenizerError */
export function libraryDecoder(json: JsonObject): (tokens: string[]) => string[] {
  const model = { type: 'BPE', vocab: {}, merges: [] };
  const { decoder } = create({ ...NO_PARTS, model, decoder: json });
  return (tokens) => decoder?.decode_chain(tokens) ?? tokens;
}

function create(json: Readonly<Record<string, JsonValue>>, config: JsonObject = {}): LibraryTokenizer {
  try {
    const tokenizer: LibraryTokenizer = new Tokenizer(json, config);
    return tokenizer;
  } catch (cause) {
    const problem = cause instanceof Error ? cause.message : String(cause);
    throw new TokenizerError(`tokenizer.json can't be used: ${problem}.`, 'Get the file again.', { cause });
  }
}
