/** What shells, mount(8) and bin/setup call, and nobody types: it is absent from help, and no option of the program applies. */
import type { Command } from 'commander';

/** @returns what to print, or null for a command that is a user's */
export async function runInternal(program: Command, argv: readonly string[]): Promise<string | null> {
  const [command, ...words] = argv;
  if (command === '__man') return (await import('./man.js')).manPage(program);
  if (command === '__mount') return (await import('./fstab-mount.js')).mountForFstab(words);
  if (command === '__complete') return completionLines(program, words);
  return null;
}

async function completionLines(program: Command, words: readonly string[]): Promise<string> {
  const [{ complete }, { repositoryNames }] = await Promise.all([
    import('./completion/candidates.js'),
    import('./completion/names.js'),
  ]);
  const completion = complete(program, words, repositoryNames);
  if (completion === 'nothing') return '';
  if (typeof completion === 'string') return `:${completion}\n`;
  return completion.map(({ word, says }) => `${word}\t${says.split('\n')[0]}\n`).join('');
}
