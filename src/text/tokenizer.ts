import { Tokenizer } from '@huggingface/tokenizers';
import { getOwn, isJsonObject, type JsonObject, type JsonValue } from '../checkpoint/json.ts';
import { type ModelFiles, openModelFiles, readJsonFile } from '../checkpoint/model-files.ts';
import { TokenizerError } from '../errors.ts';
import { assertTokenizerJson } from './tokenizer-json.ts';

/** How a text is encoded. */
export interface EncodeOptions {
  /** Add what the model expects around a text, such as a beginning-of-text token. True when absent. */
  readonly addSpecialTokens?: boolean | undefined;
}

/** How ids are decoded. */
export interface DecodeOptions {
  /** Leave out tokens such as `<|endoftext|>`. True when absent. */
  readonly skipSpecialTokens?: boolean | undefined;
}

/** Text to token ids and back, from a Hugging Face tokenizer.json. */
export class TextTokenizer {
  /** Highest token id + 1. Models often have more rows in their embedding. */
  readonly vocabSize: number;
  readonly bosToken: string | undefined;
  readonly eosToken: string | undefined;
  readonly bosTokenId: number | undefined;
  readonly eosTokenId: number | undefined;
  readonly specialTokenIds: ReadonlySet<number>;
  readonly #tokenizer: Tokenizer;
  readonly #addBosToken: boolean;

  /**
   * @param json content of tokenizer.json
   * @param config content of tokenizer_config.json
   * @throws TokenizerError when the files contradict the format
   */
  constructor(json: JsonObject, config: JsonObject = {}) {
    assertTokenizerJson(json);
    // Rust takes an absent part as null; this library asks for every key.
    const parts = { added_tokens: [], normalizer: null, pre_tokenizer: null, post_processor: null, decoder: null };
    try {
      this.#tokenizer = new Tokenizer({ ...parts, ...json }, config);
    } catch (cause) {
      const problem = cause instanceof Error ? cause.message : String(cause);
      throw new TokenizerError(`tokenizer.json can't be used: ${problem}.`, 'Get the file again.', { cause });
    }
    const vocab = [...this.#tokenizer.get_vocab()].filter(([token]) => token !== undefined);
    this.vocabSize = vocab.reduce((size, [, id]) => Math.max(size, id + 1), 0);
    this.bosToken = tokenContent(getOwn(config, 'bos_token'));
    this.eosToken = tokenContent(getOwn(config, 'eos_token'));
    this.bosTokenId = this.#idOf(this.bosToken);
    this.eosTokenId = this.#idOf(this.eosToken);
    this.specialTokenIds = this.#findSpecialTokens(config);
    this.#addBosToken = getOwn(config, 'add_bos_token') === true;
  }

  /**
   * The tokenizer of a model; undefined when it has none. Rejects with JsonFileError or TokenizerError when the files
   * are malformed.
   */
  static async fromFiles(files: ModelFiles): Promise<TextTokenizer | undefined> {
    const json = await readJsonFile(files, 'tokenizer.json');
    if (json === undefined) return undefined;
    // Older checkpoints name their special tokens in the map only.
    const map = (await readJsonFile(files, 'special_tokens_map.json')) ?? {};
    const config = (await readJsonFile(files, 'tokenizer_config.json')) ?? {};
    return new TextTokenizer(json, { ...map, ...config });
  }

  /** The same for a folder or a URL. */
  static async fromFolder(folder: string): Promise<TextTokenizer | undefined> {
    return TextTokenizer.fromFiles(await openModelFiles(folder));
  }

  /** Token ids of a text. Characters that the vocabulary can't express are left out, as in the Rust library. */
  encode(text: string, { addSpecialTokens = true }: EncodeOptions = {}): number[] {
    const ids: (number | undefined)[] = this.#tokenizer.encode(text, { add_special_tokens: addSpecialTokens }).ids;
    const known = ids.filter((id) => id !== undefined);
    const bos = this.bosTokenId;
    if (addSpecialTokens && this.#addBosToken && bos !== undefined && known[0] !== bos) return [bos, ...known];
    return known;
  }

  /**
   * The text of token ids; ids without a token add nothing. `clean_up_tokenization_spaces` is ignored, as transformers 5
   * does for BPE: dropping the space in ' .' corrupts code.
   */
  decode(ids: readonly number[], { skipSpecialTokens = true }: DecodeOptions = {}): string {
    const visible = ids.filter((id) => this.isVisible(id, skipSpecialTokens));
    if (visible.length === 0) return '';
    return this.#tokenizer.decode(visible, { skip_special_tokens: false, clean_up_tokenization_spaces: false });
  }

  /** Whether decode looks at this id at all. */
  isVisible(id: number, skipSpecialTokens = true): boolean {
    if (skipSpecialTokens && this.specialTokenIds.has(id)) return false;
    return Boolean(this.#tokenizer.id_to_token(id));
  }

  /** Throws TokenizerError when the tokenizer has ids outside of the model's vocabulary of `vocabSize` rows. */
  assertFits(vocabSize: number): void {
    if (this.vocabSize <= vocabSize) return;
    throw new TokenizerError(
      `The tokenizer has ids up to ${this.vocabSize - 1}, but the model's vocabulary has ${vocabSize} rows.`,
      'The tokenizer.json belongs to another model.',
    );
  }

  #idOf(token: string | undefined): number | undefined {
    return token === undefined ? undefined : this.#tokenizer.token_to_id(token);
  }

  #findSpecialTokens(config: JsonObject): ReadonlySet<number> {
    const ids = new Set<number>();
    for (const [id, token] of this.#tokenizer.get_added_tokens_decoder()) if (token.special) ids.add(id);
    const additional = getOwn(config, 'additional_special_tokens');
    for (const token of Array.isArray(additional) ? additional : []) {
      const id = this.#idOf(tokenContent(token));
      if (id !== undefined) ids.add(id);
    }
    return ids;
  }
}

/** A token is written as a string, or as an object of its `content` and flags. */
function tokenContent(value: JsonValue | undefined): string | undefined {
  const content = isJsonObject(value) ? getOwn(value, 'content') : value;
  return typeof content === 'string' ? content : undefined;
}
