import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import process from 'node:process';
import { beforeEach, expect, onTestFinished, test, vi } from 'vitest';
import { notifySystemd, reloading, watchdogMs, withoutService } from '../../src/base/systemd-notify.js';
import { tempDir } from '../temp-dir.js';

/** Node knows no datagram sockets. Prints each message, and which process it comes from; the sender may wait until a
 *  descriptor that it sends afterwards is closed, and that comes without a text of its own. */
const LISTENER = `
  $| = 1;
  socket(S, 1, 2, 0) && bind(S, pack("S a*", 1, $ARGV[0])) or die $!;
  print "listening\\n";
  while (defined recv(S, my $message, 4096, 0)) { $message =~ s/\\n*$//; $message =~ s/\\n/|/g; print "$message\\n" }
`;

interface Listener {
  readonly socket: string;
  /** The next messages that are no barriers. */
  next(count: number): Promise<string[]>;
}

async function listen(): Promise<Listener> {
  const socket = path.join(tempDir(), 'notify');
  const child: ChildProcess = spawn('perl', ['-e', LISTENER, socket], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const closed = once(child, 'close');
  onTestFinished(async () => {
    child.kill('SIGKILL');
    await closed;
  });
  const lines: string[] = [];
  let rest = '';
  child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
    const parts = (rest + chunk).split('\n');
    rest = parts.pop() ?? '';
    lines.push(...parts.filter((line) => !line.startsWith('BARRIER')));
  });
  const next = async (count: number) => {
    await vi.waitUntil(() => lines.length >= count, { timeout: 30_000, interval: 5 });
    return lines.splice(0, count);
  };
  expect(await next(1)).toEqual(['listening']);
  return { socket, next };
}

beforeEach(() => {
  vi.stubEnv('NOTIFY_SOCKET', undefined);
  return () => vi.unstubAllEnvs();
});

test('states reach the manager as they are said, in their order', async () => {
  const { socket, next } = await listen();
  vi.stubEnv('NOTIFY_SOCKET', socket);
  expect(await notifySystemd('READY=1\nSTATUS=3 disks, none late; “all” is $WELL')).toBe(true);
  expect(await notifySystemd('WATCHDOG=1')).toBe(true);
  expect(await notifySystemd('STOPPING=1')).toBe(true);
  expect(await next(3)).toEqual([
    'READY=1|STATUS=3 disks, none late; “all” is $WELL',
    'WATCHDOG=1',
    'STOPPING=1',
  ]);
});

test('a reload tells the monotonic time, which systemd compares with its own', async () => {
  const { socket, next } = await listen();
  vi.stubEnv('NOTIFY_SOCKET', socket);
  const earliest = process.hrtime.bigint() / 1000n;
  await notifySystemd(reloading());
  const [, usec = ''] = /^RELOADING=1\|MONOTONIC_USEC=(\d+)$/.exec((await next(1))[0] ?? '') ?? [];
  expect(BigInt(usec)).toBeGreaterThanOrEqual(earliest);
  expect(BigInt(usec)).toBeLessThanOrEqual(process.hrtime.bigint() / 1000n);
});

test('nothing happens where no manager listens', async () => {
  vi.stubEnv('PATH', '/nonexistent');
  expect(await notifySystemd('READY=1')).toBe(true);
  vi.stubEnv('NOTIFY_SOCKET', '');
  expect(await notifySystemd('READY=1')).toBe(true);
});

test('a manager that cannot be told is no error, but the caller knows', async () => {
  vi.stubEnv('NOTIFY_SOCKET', path.join(tempDir(), 'nobody'));
  expect(await notifySystemd('READY=1')).toBe(false);
});

test('the watchdog is told at half its time, where it watches this process', () => {
  expect(watchdogMs({})).toBeNull();
  expect(watchdogMs({ WATCHDOG_USEC: '60000000' })).toBe(30_000);
  expect(watchdogMs({ WATCHDOG_USEC: '60000000', WATCHDOG_PID: String(process.pid) })).toBe(30_000);
  expect(watchdogMs({ WATCHDOG_USEC: '60000000', WATCHDOG_PID: String(process.pid + 1) })).toBeNull();
  expect(watchdogMs({ WATCHDOG_USEC: '0' })).toBeNull();
  expect(watchdogMs({ WATCHDOG_USEC: 'soon' })).toBeNull();
});

test('children do not speak for the service', () => {
  const env = { NOTIFY_SOCKET: '/run/x', WATCHDOG_USEC: '1', WATCHDOG_PID: '1', PATH: '/bin' };
  expect(withoutService(env)).toEqual({ PATH: '/bin' });
});
