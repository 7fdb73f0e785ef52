/** The unit cairn-mount@.service: that it is sound, that it does not hide the mount from the machine, that what it
 *  starts says when it is ready, and that the rights it leaves are enough. */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readRecord } from '../../src/mount/session/session-record.js';
import { unmount } from '../../src/mount/session/unmount.js';
import { CAIRN, type Cli, makeCli } from '../cli/cli-lab.js';
import { tempDir } from '../temp-dir.js';
import { describeMounts } from './can-mount.js';
import { endProcess, isMounted, until } from './mount-lab.js';

const SETUP = fileURLToPath(new URL('../../bin/setup', import.meta.url));
const UNIT = fileURLToPath(new URL('../../bin/cairn-mount@.service', import.meta.url));

/** The settings that give a service a mount namespace of its own, as systemd.exec(5) tells. */
const HIDING = [
  /^(PrivateMounts|PrivateTmp|PrivateDevices|PrivateIPC|PrivateNetwork|PrivateUsers)$/,
  /^Protect(System|Home|KernelTunables|KernelModules|KernelLogs|ControlGroups|Proc|Hostname)$/,
  /^(ProcSubset|ReadOnlyPaths|ReadWritePaths|InaccessiblePaths|ExecPaths|NoExecPaths|BindPaths|BindReadOnlyPaths)$/,
  /^(TemporaryFileSystem|RootDirectory|RootImage|MountImages|ExtensionImages|MountFlags|MountAPIVFS)$/,
  /^(DynamicUser|LogNamespace|IPCNamespacePath|LoadCredential|SetCredential)/,
];

/** The settings of the unit in their order. */
function settings(): [name: string, value: string][] {
  const lines = readFileSync(UNIT, 'utf8').split('\n');
  return lines.flatMap((line) => {
    const [, name, value] = /^([A-Za-z]+)=(.*)$/.exec(line) ?? [];
    return name === undefined || value === undefined ? [] : [[name, value] as [string, string]];
  });
}

const setting = (name: string) => settings().find(([each]) => each === name)?.[1] ?? '';

describe('the unit', () => {
  it('asks for nothing that would hide the mount from the machine', () => {
    const names = settings().map(([name]) => name);
    expect(names).toContain('NoNewPrivileges');
    expect(names.filter((name) => HIDING.some((pattern) => pattern.test(name)))).toEqual([]);
  });

  it('is installed beside that of the schedule, both are found sound by systemd, and all is removed again', () => {
    const prefix = join(tempDir(), 'prefix');
    const setup = (...args: string[]) =>
      execFileSync(SETUP, [...args, '--prefix', prefix], { stdio: 'pipe' });
    const files = () => execFileSync('find', [prefix, '!', '-type', 'd'], { encoding: 'utf8' }).trim();
    setup('--install', '--no-build');
    expect(files().split('\n')).toHaveLength(8);
    for (const name of ['cairn-mount@.service', 'cairn@.service']) {
      const unit = join(prefix, 'lib/systemd/system', name);
      expect(readFileSync(unit, 'utf8')).toContain(`ExecStart=${prefix}/bin/cairn `);
      const verdict = spawnSync('systemd-analyze', ['verify', '--man=no', '--recursive-errors=no', unit]);
      // Where there is no systemd there is nothing to run it either.
      if (verdict.error === undefined) expect([verdict.status, String(verdict.stderr)]).toEqual([0, '']);
    }
    setup('--uninstall');
    expect(files()).toBe('');
    expect(() => setup('--uninstall')).toThrow(/is not of this checkout/);
  });
});

describeMounts(() =>
  describe('what the unit starts', () => {
    let cli: Cli;
    let mountpoint: string;
    beforeEach(async () => {
      cli = await makeCli();
      mountpoint = join(cli.dir, 'mount');
      await mkdir(mountpoint);
      await writeFile(join(cli.dir, 'image'), 'content'.padEnd(4096));
      await cli.backup('web01', join(cli.dir, 'image'));
    });
    afterEach(async () => {
      await unmount({ mountpoint, force: true }).catch(() => {});
    });

    const command = () => ['--quiet', 'mount', '--foreground', mountpoint];

    /** Starts it with no more rights than the unit leaves. */
    function startConfined(env: NodeJS.ProcessEnv) {
      const kept = setting('CapabilityBoundingSet')
        .split(' ')
        .map((name) => `+${name.replace(/^CAP_/, '').toLowerCase()}`);
      const bounds = ['-all', ...kept].join(',');
      const confine = ['--no-new-privs', '--inh-caps', '-all', '--bounding-set', bounds];
      const child = spawn('setpriv', [...confine, process.execPath, CAIRN, ...command()], {
        stdio: ['ignore', 'ignore', 'pipe'],
        env: { ...process.env, CAIRN_REPOSITORY: cli.repository, CAIRN_CONFIG: '', ...env },
      });
      let said = '';
      child.stderr.on('data', (chunk) => {
        said += chunk;
      });
      return { child, ended: once(child, 'close').then(([code]) => ({ code, said })) };
    }

    it('mounts with its rights, says READY=1 when the mount answers, and ends as the unit expects', async () => {
      const socket = join(cli.dir, 'notify');
      const listener = spawn('perl', ['-MSocket', '-e', LISTENER, socket, mountpoint], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      let heard = '';
      listener.stdout.on('data', (chunk) => {
        heard += chunk;
      });
      await until(async () => heard.includes('listening'));
      const { child, ended } = startConfined({ NOTIFY_SOCKET: socket });
      await once(listener, 'close');
      expect(heard.split('\n')).toEqual([
        'listening',
        'mounted',
        'READY=1',
        expect.stringMatching(/^STATUS=Serving /),
        '',
      ]);
      expect(await readFile(join(mountpoint, 'web01/latest/disk.img'), 'utf8')).toContain('content');
      child.kill('SIGTERM');
      expect(await ended).toEqual({ code: Number(setting('SuccessExitStatus')), said: '' });
      expect(await isMounted(mountpoint)).toBe(false);
    });

    it('ends with a failure when the server dies, so that it is started again', async () => {
      const { ended } = startConfined({});
      await until(async () => (await servedPid()) !== null);
      endProcess((await servedPid()) ?? 0);
      expect(await ended).toMatchObject({ code: 1, said: expect.stringContaining('the server died') });
      expect(await isMounted(mountpoint)).toBe(false);
    });

    async function servedPid(): Promise<number | null> {
      return (await readRecord(mountpoint))?.server.pid ?? null;
    }
  }),
);

/** Node knows no datagram sockets. Takes one message, and tells whether the mount was there when it came. The sender
 *  waits until a descriptor that it sends after it is closed, which taking the second message does here. */
const LISTENER = `
  $| = 1;
  my ($path, $mount) = @ARGV;
  socket(S, AF_UNIX, SOCK_DGRAM, 0) && bind(S, pack_sockaddr_un($path)) or die $!;
  print "listening\\n";
  recv(S, my $message, 4096, 0);
  open(M, "<", "/proc/self/mountinfo") or die $!;
  print((grep { / \\Q$mount\\E / } <M>) ? "mounted\\n" : "too early\\n");
  $message =~ s/\\n*$/\\n/;
  print $message;
  recv(S, my $barrier, 4096, 0);
`;
