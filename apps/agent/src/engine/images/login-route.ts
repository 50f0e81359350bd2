/** `POST /auth`: whether a registry takes the name and password of `docker login`. */
import { validateBody, type Route } from '#libs/docker-api';
import type { ImageStore } from '#libs/images';
import { IsOptional, IsString } from 'class-validator';

class AuthConfigDto {
  @IsOptional() @IsString() username?: string;
  @IsOptional() @IsString() password?: string;
  @IsOptional() @IsString() identitytoken?: string;
  @IsOptional() @IsString() serveraddress?: string;
}

export function loginRoute(images: Pick<ImageStore, 'checkLogin'>): Route {
  return {
    method: 'POST',
    path: '/auth',
    async handler(request, response) {
      const { serveraddress = '', ...auth } = validateBody(AuthConfigDto, (await request.json()) ?? {});
      await images.checkLogin({ server: serveraddress, auth, signal: request.signal });
      response.json(200, { Status: 'Login Succeeded', IdentityToken: '' });
    },
  };
}
