import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { FolderFiles } from '../src/checkpoint/files/folder-files.ts';
import { openGguf } from '../src/checkpoint/gguf/open-gguf.ts';
import { tokenizerFiles } from '../src/checkpoint/gguf/tokenizer/tokenizer-files.ts';
import { TokenizerError } from '../src/errors.ts';
import { TextTokenizer } from '../src/text/tokenizer.ts';
import { say } from './child-process.ts';
import { llamaCppSource } from './llama-cpp.ts';

/**
 * Encodes the texts that llama.cpp tests its tokenizers with: `models/ggml-vocab-*.gguf` of its source, each with texts
 * (`.inp`) and the ids that the models' own tokenizers give (`.out`). Ends with 1 if any ids differ.
 */
const SEPARATOR = '\n__ggml_vocab_test__\n';

const { release, source } = await llamaCppSource();
const folder = join(source, 'models');
const files = new FolderFiles(folder);
const vocabularies = (await readdir(folder)).filter((name) => /^ggml-vocab-.*\.gguf$/.test(name)).sort();
say(`Vocabularies of llama.cpp ${release}:`);
for (const name of vocabularies) {
  const result = existsSync(join(folder, `${name}.inp`)) ? await compare(name) : 'no texts to test with';
  say(`${name.padEnd(34)} ${result}`);
}
await files.close();

async function compare(name: string): Promise<string> {
  const { metadata } = await openGguf(files, name);
  const made = tokenizerFiles(metadata);
  const json = (file: string) => JSON.parse(made.get(file)?.() ?? '{}');
  try {
    const tokenizer = new TextTokenizer(json('tokenizer.json'), json('tokenizer_config.json'));
    const texts = (await readFile(join(folder, `${name}.inp`), 'utf8')).split(SEPARATOR).slice(0, -1);
    const lines = (await readFile(join(folder, `${name}.out`), 'utf8')).split('\n');
    const wrong = texts.filter((text, i) => {
      const ids = tokenizer.encode(text, { addSpecialTokens: false });
      return ids.join(' ') !== lines[i].trim().split(/\s+/).join(' ');
    });
    if (wrong.length === 0) return `${texts.length} of ${texts.length} texts equal`;
    process.exitCode = 1;
    return `${wrong.length} of ${texts.length} texts DIFFER, the first of them ${JSON.stringify(wrong[0])}`;
  } catch (error) {
    if (error instanceof TokenizerError) return `not supported: ${error.message}`;
    throw error;
  }
}
