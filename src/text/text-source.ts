import type { ByteSource } from '../checkpoint/files/byte-source.ts';
import type { ModelFiles, StoredTokenizer } from '../checkpoint/files/model-files.ts';
import { ChatTemplate } from './chat/chat-template.ts';
import { TextTokenizer } from './tokenizer.ts';

/** The sources of a tokenizer and a chat template: plain data, so that another thread can make the same ones. */
export interface TextSource {
  readonly location: string;
  /** Contents of the files by name, in memory that threads share; undefined for a missing file. */
  readonly files: ReadonlyMap<string, Uint8Array | undefined>;
  readonly options: TextOptions;
}

/** Settings besides the files. */
export interface TextOptions {
  /** Rows of the model's embedding. */
  readonly vocabSize?: number | undefined;
  /** Jinja source in place of the model's own; null: none. */
  readonly chatTemplate?: string | null | undefined;
}

/** A model's tokenizer and chat template. */
export interface TextParts {
  /** Absent where there is no tokenizer.json. */
  readonly tokenizer: TextTokenizer | undefined;
  readonly chatTemplate: ChatTemplate | undefined;
}

/**
 * The tokenizer and the chat template of a model, and their sources, which are made when a thread needs them: files may be
 * replaced later, and two threads must not read different ones. Rejects with JsonFileError, TokenizerError or ChatTemplateError if the files are malformed.
 */
export async function openText(
  files: ModelFiles,
  options: TextOptions = {},
): Promise<TextParts & { readonly source: () => TextSource }> {
  const kept = new KeptFiles(files);
  const parts = await makeText(kept, options);
  return { ...parts, source: () => ({ location: files.location, files: kept.contents(), options }) };
}

/** The tokenizer and the chat template in another thread, from their sources. */
export async function textFrom({ location, files, options }: TextSource): Promise<TextParts> {
  return makeText(new FilesInMemory(location, files), options);
}

async function makeText(files: ModelFiles, { vocabSize, chatTemplate: asked }: TextOptions): Promise<TextParts> {
  const tokenizer = await TextTokenizer.fromFiles(files, vocabSize);
  if (asked === null) return { tokenizer, chatTemplate: undefined };
  return {
    tokenizer,
    chatTemplate: asked === undefined ? await ChatTemplate.fromFiles(files) : new ChatTemplate(asked),
  };
}

/** Files whose texts are kept when they are read. */
class KeptFiles implements ModelFiles {
  readonly storedTokenizer: ModelFiles['storedTokenizer'];
  readonly #files: ModelFiles;
  readonly #texts = new Map<string, string | undefined>();
  #tokenizer: StoredTokenizer | undefined;
  #contents: TextSource['files'] | undefined;

  constructor(files: ModelFiles) {
    this.#files = files;
    this.storedTokenizer =
      files.storedTokenizer &&
      (async () => {
        this.#tokenizer = await files.storedTokenizer?.();
        return this.#tokenizer;
      });
  }

  /** What was read, encoded once for all threads. */
  contents(): TextSource['files'] {
    if (this.#contents) return this.#contents;
    const contents = new Map<string, Uint8Array | undefined>();
    for (const [file, text] of this.#texts) contents.set(file, text === undefined ? undefined : sharedBytes(text));
    if (this.#tokenizer) {
      const { json, config } = this.#tokenizer.read();
      contents.set('tokenizer.json', sharedBytes(JSON.stringify(json)));
      contents.set('tokenizer_config.json', sharedBytes(JSON.stringify(config)));
    }
    this.#texts.clear();
    this.#contents = contents;
    return contents;
  }

  get location(): string {
    return this.#files.location;
  }

  nameOf(file: string): string {
    return this.#files.nameOf(file);
  }

  async readText(file: string): Promise<string | undefined> {
    const text = await this.#files.readText(file);
    this.#texts.set(file, text);
    return text;
  }

  async open(file: string): Promise<ByteSource | undefined> {
    return this.#files.open(file);
  }

  async list(): Promise<readonly string[]> {
    return this.#files.list();
  }

  async close(): Promise<void> {}
}

/** Texts that another thread has read. */
class FilesInMemory implements ModelFiles {
  readonly location: string;
  readonly #contents: TextSource['files'];

  constructor(location: string, contents: TextSource['files']) {
    this.location = location;
    this.#contents = contents;
  }

  nameOf(file: string): string {
    return `${this.location}/${file}`;
  }

  async readText(file: string): Promise<string | undefined> {
    const bytes = this.#contents.get(file);
    // A decoder does not accept shared memory.
    return bytes && new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes.slice());
  }

  async open(): Promise<ByteSource | undefined> {
    return undefined;
  }

  async list(): Promise<readonly string[]> {
    return [...this.#contents.keys()];
  }

  async close(): Promise<void> {}
}

function sharedBytes(text: string): Uint8Array {
  const bytes = new TextEncoder().encode(text);
  if (typeof SharedArrayBuffer === 'undefined') return bytes;
  const shared = new Uint8Array(new SharedArrayBuffer(bytes.length));
  shared.set(bytes);
  return shared;
}
