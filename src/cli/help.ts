import type { Command } from './command.ts';
import { flagName } from './option.ts';
import { styled } from './styled.ts';

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
    'A model is a folder or its URL, the name of a bundled model, or a hub id such as org/name or org/name@revision.',
    'The environment variables of the Hugging Face hub hold: HF_HOME, HF_HUB_CACHE, HF_TOKEN, HF_ENDPOINT, HF_HUB_OFFLINE.',
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
    ...(details ? ['', details] : []),
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
    positional.endsWith('?') ? `[${positional.slice(0, -1)}]` : `<${positional}>`,
  );
  return [name, ...listed].join(' ');
}

function heading(title: string): string {
  return styled('bold', `${title}:`, process.stdout);
}

function aligned(rows: readonly (readonly [string, string])[]): string[] {
  const width = Math.max(...rows.map(([left]) => left.length));
  return rows.map(([left, right]) => `  ${left.padEnd(width)}  ${right}`);
}
