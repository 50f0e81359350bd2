/**
 * Clients in Python read the head of an answer through a buffer and then the bare socket: output that comes in one
 * piece with the head stays in the buffer and is lost. Docker needs longer to start a program than they to read a head.
 */
import type { ApiRequest } from '#libs/docker-api';
import { setTimeout as delay } from 'node:timers/promises';

const buffered = /python|docker-py|docker-compose\/1\./i;
const waitMs = 20;

export async function letHeadArrive(request: Pick<ApiRequest, 'headers'>): Promise<void> {
  if (buffered.test(request.headers['user-agent'] ?? '')) await delay(waitMs);
}
