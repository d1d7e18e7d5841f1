import { asObject, type JsonObject, parseLenientJson } from '../json/json.ts';
import type { ByteSource } from './byte-source.ts';

/** The files of one model, wherever they lie, by their names in Hugging Face's layout. */
export interface ModelFiles {
  /** The folder, or a GGUF file: a path or a URL. */
  readonly location: string;
  /** Name of a file in messages: its path or URL. */
  nameOf(file: string): string;
  /** A UTF-8 file; undefined when there is none of that name. */
  readText(file: string): Promise<string | undefined>;
  /** A file to read ranges of; undefined when there is none of that name. It is closed with the rest. */
  open(file: string): Promise<ByteSource | undefined>;
  /** Names of all files; none where they can't be listed, as on a static host. */
  list(): Promise<readonly string[]>;
  /**
   * The tokenizer, where it is not in files of its own, which would be written only to be parsed again; undefined when there
   * is none. Absent: it is in files. Rejects with TokenizerError or GgufError.
   */
  readonly storedTokenizer?: (() => Promise<StoredTokenizer | undefined>) | undefined;
  /** Closes open files. Later reads reject with DisposedError. */
  close(): Promise<void>;
}

/** A tokenizer's files as values, made when they are needed: a large vocabulary takes as long as a model's weights. */
export interface StoredTokenizer {
  /** Contents of tokenizer.json and tokenizer_config.json. */
  read(): { readonly json: JsonObject; readonly config: JsonObject };
  /** What loading a model asks of its tokenizer, known without those. Absent: they are needed for it. */
  readonly facts?: TokenizerFacts | undefined;
}

/** What loading a model asks of its tokenizer. */
export interface TokenizerFacts {
  /** Highest token id + 1. */
  readonly vocabSize: number;
  /** Tokens that end a text or a turn. */
  readonly endTokenIds: readonly number[];
}

/** A JSON object of a file; undefined when there is no such file. Rejects with JsonFileError. */
export async function readJsonFile(files: ModelFiles, file: string): Promise<JsonObject | undefined> {
  const text = await files.readText(file);
  return text === undefined ? undefined : asObject(parseLenientJson(text, files.nameOf(file)), files.nameOf(file));
}
