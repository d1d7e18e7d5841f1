import { defineCommand } from '../options/command.ts';
import { UsageError } from '../options/usage-error.ts';
import { print } from '../terminal/standard-output.ts';

/**
 * Scripts that shells run when Tab is pressed. They ask `mamba2 complete` for candidates, with the words so far as its
 * arguments, and complete file names if there are none.
 */
const SCRIPTS: ReadonlyMap<string, string> = new Map([
  [
    'bash',
    `_mamba2() {
  local IFS=$'\\n'
  COMPREPLY=($(mamba2 complete -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _mamba2 mamba2`,
  ],
  [
    'zsh',
    `#compdef mamba2
_mamba2() {
  local -a candidates
  candidates=("\${(@f)$(mamba2 complete -- "\${(@)words[2,CURRENT]}" 2>/dev/null)}")
  if [[ -n "$candidates" ]]; then compadd -a candidates; else _files; fi
}
compdef _mamba2 mamba2`,
  ],
  ['fish', `complete -c mamba2 -a '(mamba2 complete -- (commandline -opc)[2..] (commandline -ct) 2>/dev/null)'`],
]);

/** `mamba2 completion` */
export const completion = defineCommand({
  details: [
    'For bash and zsh, add to ~/.bashrc or ~/.zshrc: source <(mamba2 completion bash), or zsh in place of bash.',
    'For fish: mamba2 completion fish > ~/.config/fish/completions/mamba2.fish',
  ].join('\n'),
  options: {},
  examples: ['completion bash'],
  run: async (_, [shell]) => {
    const script = SCRIPTS.get(shell);
    if (script === undefined) {
      throw new UsageError(`There is no script for the shell '${shell}'.`, `Give ${[...SCRIPTS.keys()].join(', ')}.`);
    }
    await print(`${script}\n`);
    return 0;
  },
});
