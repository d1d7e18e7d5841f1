import type { Command } from './options/command.ts';
import { flagName } from './options/option.ts';
import { modelsBySize } from './reports/models-by-size.ts';
import { styled } from './terminal/styled.ts';

const MODELS = [
  'A model is a folder or its URL, the name of a bundled model, or a hub id such as org/name or org/name@revision.',
  'The environment variables of the Hugging Face hub hold: HF_HOME, HF_HUB_CACHE, HF_TOKEN, HF_ENDPOINT, HF_HUB_OFFLINE.',
].join('\n');

/** The help of the program as a whole. */
export function programHelp(commands: readonly Command[]): string {
  const rows = commands.map(({ name, positionals, summary }) => [signature(name, positionals), summary] as const);
  return [
    'Mamba-2 inference: Hugging Face checkpoints in, text out.',
    '',
    heading('Usage'),
    '  mamba2 <command> [options]',
    '',
    heading('Commands'),
    ...aligned(rows),
    '',
    heading('Options'),
    ...aligned([
      ['-h, --help', "Show this help; 'mamba2 <command> --help' shows a command's"],
      ['-v, --version', 'Show the version'],
    ]),
    '',
    ...wrapped(MODELS, terminalWidth()),
    '',
    heading('Models by size, with --dtype int4 on two cores'),
    ...modelsBySize()
      .split('\n')
      .map((line) => `  ${line}`),
  ].join('\n');
}

/** The help of one command. */
export function commandHelp({ name, summary, positionals, details, options, examples }: Command): string {
  const rows = Object.entries(options).map(([key, { placeholder, short, description }]) => {
    const long = flagName(key) + (placeholder === undefined ? '' : ` <${placeholder}>`);
    return [`${short ? `-${short}, ` : '    '}${long}`, description] as const;
  });
  return [
    `${summary}.`,
    '',
    heading('Usage'),
    `  mamba2 ${signature(name, positionals)} [options]`,
    ...(details ? ['', ...wrapped(details, terminalWidth())] : []),
    '',
    heading('Options'),
    ...aligned(rows),
    '',
    heading('Examples'),
    ...examples.map((example) => `  mamba2 ${example}`),
  ].join('\n');
}

function signature(name: string, positionals: readonly string[]): string {
  const listed = positionals.map((positional) =>
    positional.replace(/^(.*?)([?*]?)$/, (_, word, mark) => MARKED[mark as keyof typeof MARKED](word)),
  );
  return [name, ...listed].join(' ');
}

const MARKED = {
  '': (word: string) => `<${word}>`,
  '?': (word: string) => `[${word}]`,
  '*': (word: string) => `[${word} ...]`,
};

function heading(title: string): string {
  return styled('bold', `${title}:`, process.stdout);
}

/** Two columns; where the terminal leaves the right one little room, it goes below the left one. */
function aligned(rows: readonly (readonly [string, string])[]): string[] {
  const width = Math.max(...rows.map(([left]) => left.length));
  const room = terminalWidth() - width - 4;
  if (room < 30)
    return rows.flatMap(([left, right]) => [
      `  ${left}`,
      ...wrapped(right, terminalWidth() - 10).map((line) => `          ${line}`),
    ]);
  return rows.flatMap(([left, right]) =>
    wrapped(right, room).map((line, i) => `  ${(i === 0 ? left : '').padEnd(width)}  ${line}`),
  );
}

/** Lines of at most so many characters, where words allow. Line ends stay. */
function wrapped(text: string, width: number): string[] {
  return text.split('\n').flatMap((paragraph) => {
    const lines: string[] = [];
    for (const word of paragraph.split(' ')) {
      const last = lines.at(-1);
      if (last !== undefined && last.length + 1 + word.length <= width) lines[lines.length - 1] = `${last} ${word}`;
      else lines.push(word);
    }
    return lines;
  });
}

/** Columns of the terminal, else what COLUMNS says, else 80 as for manual pages. Lines over 120 are hard to read. */
function terminalWidth(): number {
  const columns = process.stdout.columns || Number(process.env.COLUMNS) || 80;
  return Math.min(120, Math.max(40, columns));
}
