import type { Command } from 'commander';
import { describe, expect, test } from 'vitest';
import { complete, type Names } from '../../src/cli/completion/candidates.js';
import { ProcessContext } from '../../src/cli/context.js';
import { buildProgram } from '../../src/cli/program.js';
import { run } from '../block-lab.js';
import { CAIRN, makeCli } from './cli-lab.js';

const program: Command = await buildProgram(new ProcessContext(), []);

const names: Names = {
  disks: (repository) => [{ word: repository === '/other' ? 'other' : 'vm1', says: 'disk' }],
  revisions: (_, typed) => [{ word: typed.includes('@') ? 'vm1@latest' : 'vm1@', says: '' }],
};

function words(...typed: string[]): string[] | string {
  const completion = complete(program, typed, names);
  return typeof completion === 'string' ? completion : completion.map((candidate) => candidate.word);
}

test.each([
  ['commands', ['res'], ['restore', 'restore-many']],
  ['commands of a group', ['disk', ''], ['list', 'rename', 'delete']],
  ['options of a command', ['backup', 'vm1', '--so'], ['--source']],
  ['options of every command', ['backup', '--js'], ['--json']],
  ['a disk', ['backup', ''], ['vm1']],
  ['a disk of the repository that the line names', ['-r', '/other', 'list', ''], ['other']],
  ['several disks', ['mount', '/mnt', 'vm2', ''], ['vm1']],
  ['a revision, first its disk', ['show', 'v'], ['vm1@']],
  ['a revision of a disk', ['restore', 'vm1@la'], ['vm1@latest']],
  ['the second revision', ['diff', 'vm1@latest', 'vm1@'], ['vm1@latest']],
  ['a choice', ['tag', 'vm1@latest', 'a'], ['add']],
  ['what may be thought of a revision', ['trust', 'vm1@latest', ''], ['distrusted', 'trusted']],
  ['a choice of an option', ['init', '--compression', ''], ['zstd', 'lz4', 'plain']],
])('%s', (_, typed, expected) => {
  expect(words(...typed)).toEqual(expected);
});

test.each([
  ['files for a source', ['backup', 'vm1', '--source', ''], 'files'],
  ['files for a target', ['restore', 'vm1@latest', ''], 'files'],
  ['directories for a mount point', ['mount', ''], 'directories'],
  ['directories for a repository', ['-r', ''], 'directories'],
  ['nothing after the last argument', ['show', 'vm1@latest', ''], 'nothing'],
  ['nothing for a free text', ['backup', 'vm1', '--tag', ''], 'nothing'],
])('%s', (_, typed, expected) => {
  expect(words(...typed)).toBe(expected);
});

test('what is hidden is not offered', () => {
  expect(words('')).not.toContain('__complete');
  expect(words('')).not.toContain('help');
});

describe('in bash', () => {
  /** What pressing Tab behind `line` fills in. */
  function pressTab(repository: string, line: string): string[] {
    const script = `
      source <("${CAIRN}" completion bash)
      compopt() { :; }
      cairn() { "${CAIRN}" "$@"; }
      export CAIRN_REPOSITORY=${repository}
      COMP_LINE='${line}' COMP_POINT=${line.length}
      _cairn
      printf '%s\\n' "\${COMPREPLY[@]}"`;
    return run('bash', '-c', script)
      .split('\n')
      .filter((word) => word !== '');
  }

  test('disks and revisions complete, also behind an @, where readline breaks words', async () => {
    const cli = await makeCli();
    const { revision } = await cli.backup('vm1', '/etc/passwd');
    expect(pressTab(cli.repository, 'cairn li')).toEqual(['list']);
    expect(pressTab(cli.repository, 'cairn list v')).toEqual(['vm1']);
    expect(pressTab(cli.repository, 'cairn show v')).toEqual(['vm1@']);
    expect(pressTab(cli.repository, 'cairn show vm1@')).toEqual(['latest', revision]);
    expect(pressTab(cli.repository, 'cairn show vm1@2')).toEqual([revision]);
    expect(pressTab(cli.repository, 'cairn mount /et')).toEqual(['/etc']);
    expect(pressTab(cli.repository, 'cairn list no-such')).toEqual([]);
  });
});

test.each(['zsh', 'fish'] as const)('the script for %s is one that it takes', async (shell) => {
  const script = run(CAIRN, 'completion', shell);
  expect(script).toContain('__complete');
});

test('the man page has every command and formats without a complaint', () => {
  const page = run(CAIRN, '__man');
  for (const command of ['backup', 'restore', 'trust', 'operations', 'disk rename', 'catalog rebuild']) {
    expect(page).toContain(`.SS cairn ${command}`);
  }
  expect(page).toContain('.SH EXIT STATUS');
  // A line that begins with a control character and is no request would be swallowed.
  for (const line of page.split('\n').filter((text) => text.startsWith('.'))) {
    expect(line).toMatch(/^\.(TH|SH|SS|TP|B|PP|RS|RE|nf|fi)\b/);
  }
});
