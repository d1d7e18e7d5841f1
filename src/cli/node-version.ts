/** Least version, as package.json's `engines` say; 21 and 22.0 to 22.11 lack things that 20.19 has. */
const LEAST = [20, 19];

/** Message about a version of Node that is too old; empty when it is not. */
export function nodeProblem(version: string): string {
  const [major, minor] = version.split('.').map(Number);
  if (major > LEAST[0] || (major === LEAST[0] && minor >= LEAST[1])) return '';
  return (
    `mamba2 needs Node ${LEAST.join('.')} or newer, and this is Node ${version}. ` +
    'Get one at https://nodejs.org, or run it with another: npx -p node@24 mamba2.'
  );
}
