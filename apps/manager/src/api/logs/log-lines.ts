/** One line of a task's log on its way to the client: Docker's details in front, when asked for. Pure. */
import type { Task } from '#libs/model';

/** `com.docker.swarm.node.id=..,com.docker.swarm.service.id=..,com.docker.swarm.task.id=..`, keys in order. */
export function detailsOf(task: Readonly<Task>): string {
  const details = [
    ['com.docker.swarm.node.id', task.nodeId ?? ''],
    ['com.docker.swarm.service.id', task.serviceId],
    ['com.docker.swarm.task.id', task.id],
  ];
  return details.map(([key, value]) => `${key}=${encodeURIComponent(value ?? '')}`).join(',');
}

/** Puts the details behind the timestamp, where Docker's clients look for them. */
export function withDetails(line: Buffer, details: string, timestamps: boolean): Buffer {
  const prefix = Buffer.from(`${details} `);
  if (!timestamps) return Buffer.concat([prefix, line]);
  const end = line.indexOf(0x20) + 1;
  return Buffer.concat([line.subarray(0, end), prefix, line.subarray(end)]);
}

/** The line behind the time it begins with. */
export function withoutTime(line: Buffer): Buffer {
  return line.subarray(line.indexOf(0x20) + 1);
}

/** A line of our own among a task's, with its time. */
export function noteLine(text: string, nowMs: number): Buffer {
  return Buffer.from(`${new Date(nowMs).toISOString().replace('Z', '000000Z')} ${text}\n`);
}
