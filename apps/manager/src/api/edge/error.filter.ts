/** Every error of a controller becomes Docker's `{"message"}` with the status of its code. */
import { isEnxameError } from '#libs/model';
import { Catch, HttpException, type ArgumentsHost, type ExceptionFilter } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Log } from '../../membership/index.js';

@Catch()
export class ErrorFilter implements ExceptionFilter {
  readonly #log: Log;

  constructor(log: Log) {
    this.#log = log;
  }

  catch(error: unknown, host: ArgumentsHost): void {
    const http = host.switchToHttp();
    const request = http.getRequest<FastifyRequest>();
    const { status, message } = describe(error);
    const unexpected = !isEnxameError(error) && !(error instanceof HttpException);
    if (unexpected)
      this.#log('error', 'request failed', { request: `${request.method} ${request.url}`, error });
    void http.getResponse<FastifyReply>().status(status).send({ message });
  }
}

function describe(error: unknown): { status: number; message: string } {
  if (isEnxameError(error)) return { status: error.httpStatus, message: error.message };
  if (error instanceof HttpException) {
    const status = error.getStatus();
    return { status, message: status === 404 ? 'page not found' : error.message };
  }
  return { status: 500, message: error instanceof Error ? error.message : String(error) };
}
