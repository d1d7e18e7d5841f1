import { CommanderError, Option as Flag, Help, Command as Program } from 'commander';
import { VERSION } from '../version.generated.ts';
import type { CommandEntry } from './commands.ts';
import type { CliCommand } from './options/command.ts';
import { flagName, type Option, type Options } from './options/option.ts';
import { UsageError } from './options/usage-error.ts';
import { modelsBySize } from './reports/models-by-size.ts';
import { print } from './terminal/standard-output.ts';
import { styled } from './terminal/styled.ts';

/** Runs the command that a command line names, or prints help or the version. → exit code. @throws UsageError */
export async function runProgram(entries: readonly CommandEntry[], argv: readonly string[]): Promise<number> {
  let code = 0;
  let shown = '';
  const program = new Program('mamba2')
    .description('Mamba-2 inference: Hugging Face checkpoints in, text out.')
    .usage('<command> [options]')
    .version(VERSION, '-v, --version', 'Show the version')
    .helpOption('-h, --help', "Show this help; 'mamba2 <command> --help' shows a command's")
    .helpCommand('help [command]', "Show a command's help")
    .addHelpText('after', () => `\n${modelsHelp()}`)
    // A command has its own meaning for -v.
    .enablePositionalOptions()
    .exitOverride()
    .configureHelp({ minWidthToWrap: 30, styleTitle: heading, subcommandTerm, formatItem })
    .configureOutput({
      getOutHelpWidth: terminalWidth,
      writeOut: (text) => {
        shown += text;
      },
      writeErr: () => {},
    });
  const called = argv[0] === 'help' ? argv[1] : argv[0];
  for (const { name, summary, positionals, load } of entries) {
    const command = program.command([name, ...positionals].join(' ')).summary(summary);
    if (name !== called) continue;
    const definition = await load();
    describe(command, definition);
    assertValues(definition.options, argv);
    command.action(async () => {
      code = await definition.run(readValues(definition.options, command), command.args);
    });
  }
  // For the scripts of `mamba2 completion`.
  program.command('complete [word...]', { hidden: true }).action(async (words: readonly string[]) => {
    const { candidates } = await import('./candidates.ts');
    shown = (await candidates(entries, words)).map((word) => `${word}\n`).join('');
  });
  try {
    await program.parseAsync(argv.length === 0 ? ['--help'] : argv, { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode !== 0) throw usageErrorOf(error);
  }
  await print(shown);
  return code;
}

function describe(command: Program, { options, details, examples }: CliCommand): void {
  command
    .description([`${command.summary()}.`, details].filter((text) => text !== '').join('\n\n'))
    .helpOption('-h, --help', 'Show this help')
    .addHelpText('after', `\n${heading('Examples:')}\n${examples.map((line) => `  mamba2 ${line}`).join('\n')}`);
  for (const [name, { placeholder, short, description }] of Object.entries(options)) {
    const long = flagName(name) + (placeholder === undefined ? '' : ` <${placeholder}>`);
    const option = new Flag(short === undefined ? long : `-${short}, ${long}`, description);
    if (placeholder !== undefined) option.argParser((value, before: string[] = []) => [...before, value]);
    command.addOption(option);
  }
}

/** The values of options, each read from all that was given for it. @throws UsageError */
function readValues(options: Options, command: Program): Record<string, unknown> {
  const values = Object.entries(options).map(([name, option]) => {
    const flag = flagName(name);
    const key = command.options.find(({ long }) => long === flag)?.attributeName() ?? name;
    const isGiven = command.getOptionValueSource(key) === 'cli';
    const value: unknown = command.getOptionValue(key);
    return [name, option.read(isGiven ? (Array.isArray(value) ? value : ['']) : [], flag)];
  });
  return Object.fromEntries(values);
}

/**
 * Refuses two mistakes that commander accepts: an option in place of another one's value, which was most likely
 * forgotten, and a value for an option that takes none. @throws UsageError
 */
function assertValues(options: Options, argv: readonly string[]): void {
  const known = new Map<string, Option<unknown>>();
  for (const [name, option] of Object.entries(options)) {
    known.set(flagName(name), option);
    if (option.short !== undefined) known.set(`-${option.short}`, option);
  }
  const takesValue = (flag: string) => known.get(flag)?.placeholder !== undefined;
  for (const [i, argument] of argv.entries()) {
    if (argument === '--') return;
    const [, flag = '', value] = /^(--[^=]+)=(.*)$/s.exec(argument) ?? [];
    if (known.has(flag) && !takesValue(flag)) throw new UsageError(`${flag} takes no value, but got '${value}'.`);
    const next = argv[i + 1];
    // Negative numbers and '-' alone are values.
    if (!takesValue(argument) || next === undefined || !/^-[^\d.]/.test(next)) continue;
    throw new UsageError(
      `${argument} is followed by '${next}', which looks like an option.`,
      `If it is meant as the value, write ${longName(options, argument)}=${next}`,
    );
  }
}

function longName(options: Options, flag: string): string {
  const name = Object.keys(options).find((key) => `-${options[key].short}` === flag);
  return name === undefined ? flag : flagName(name);
}

/** Hints for some of commander's errors. */
const HINTS: Readonly<Record<string, string>> = {
  'commander.excessArguments': 'Put quotes around text with spaces.',
  'commander.missingArgument': '--help shows what the command takes.',
};

/** An error of commander in one line. */
function usageErrorOf({ code, message }: CommanderError): UsageError {
  const [problem, suggestion = ''] = message.replace(/^error: /, '').split('\n');
  const sentence = problem.replace(/^./, (letter) => letter.toUpperCase()).replace(/\.?$/, '.');
  return new UsageError(sentence, suggestion.replace(/^\((.*)\)$/, '$1') || HINTS[code]);
}

function modelsHelp(): string {
  const explained = [
    'A model is a folder or a GGUF file, the URL of either, the name of a bundled model, or a hub id such as org/name, org/name@revision or org/name-GGUF:Q4_K_M.',
    'The environment variables of the Hugging Face hub hold: HF_HOME, HF_HUB_CACHE, HF_TOKEN, HF_ENDPOINT, HF_HUB_OFFLINE.',
  ].join('\n');
  const table = modelsBySize().replaceAll(/^/gm, '  ');
  const title = heading('Models by size, with --dtype int4 on two cores:');
  return `${new Help().boxWrap(explained, terminalWidth())}\n\n${title}\n${table}`;
}

function heading(title: string): string {
  return styled('bold', title, process.stdout);
}

function subcommandTerm(command: Program): string {
  return `${command.name()} ${command.usage()}`.replace(' [options]', '');
}

/** Two columns; where the terminal leaves little room for the right one, it goes below the left one. */
function formatItem(term: string, termWidth: number, description: string, helper: Help): string {
  const columns = helper.helpWidth ?? terminalWidth();
  if (columns - termWidth - 4 >= helper.minWidthToWrap) {
    return Help.prototype.formatItem.call(helper, term, termWidth, description, helper);
  }
  const below = helper.boxWrap(description, columns - 10).replaceAll(/^/gm, ' '.repeat(10));
  return `  ${term}\n${below}`;
}

/** Columns of the terminal, else COLUMNS, else 80 as for manual pages. Lines over 120 are hard to read. */
function terminalWidth(): number {
  const columns = process.stdout.columns || Number(process.env.COLUMNS) || 80;
  return Math.min(120, Math.max(40, columns));
}
