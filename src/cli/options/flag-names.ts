import { flagName, type Options } from './option.ts';

/** Names in the library's messages whose counterpart on the command line is spelt differently, or is missing. */
const OTHER_NAMES: Readonly<Record<string, string>> = {
  kvCacheMemoryBytes: '--kv-cache-size',
  prefixCacheBytes: '--prefix-cache-size',
  skipSpecialTokens: '--no-skip-special-tokens',
  localFilesOnly: 'HF_HUB_OFFLINE',
  stateDtype: '--mamba-ssm-cache-dtype',
  kvCacheDtype: '--kv-cache-dtype',
  stateRounding: '--enable-mamba-cache-stochastic-rounding',
  maxNumSeqs: 'sequences at the same time',
  'generate()': "'mamba2 generate'",
  "device: 'reference'": '--device reference',
  ', or the cacheDir option,': '',
};

/** A message of the library with the flags of a command in place of its own names for the same: `topP` → `--top-p`. */
export function inFlags(message: string, options: Options): string {
  const names = new Map([
    ...Object.entries(OTHER_NAMES),
    ...Object.keys(options).map((name) => [name, flagName(name)] as const),
  ]);
  let translated = message;
  for (const [name, flag] of names) {
    // A name of one word is also an English word: it is the name only where a message begins with it.
    const isWord = /^[a-z]+$/.test(name);
    const whole = isWord ? `^${name}(?= is )` : `${/^\w/.test(name) ? '(?<![\\w-])' : ''}${escaped(name)}(?!\\w)`;
    const pattern = new RegExp(whole, 'g');
    translated = translated.replace(pattern, () => flag);
  }
  return translated;
}

function escaped(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
}
