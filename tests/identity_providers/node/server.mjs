// A provider on loopback with the package `oidc-provider`. Its settings are a JSON file; SIGHUP reads them again, so
// that keys rotate during a run. It signs JWT access tokens (RFC 9068), and exchanges two tokens for one with `act`.
//
// Usage: node server.mjs SETTINGS.json
import { readFileSync } from 'node:fs';
import http from 'node:http';

import { createLocalJWKSet, jwtVerify } from 'jose';
import Provider, { errors } from 'oidc-provider';

const RESOURCE = 'urn:macaw:api';
const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token';
const BODY_BYTES_MAX = 16384;
const actors = new WeakMap(); // of a request of an exchange: the claim `act` of its token

let settings;
let provider;

function load() {
  settings = JSON.parse(readFileSync(process.argv[2], 'utf8'));
  provider = make();
}

function resourceServer(seconds) {
  return {
    scope: 'macaw',
    audience: settings.audience,
    accessTokenFormat: 'jwt',
    accessTokenTTL: seconds ?? settings.lifetimes.usual,
    jwt: { sign: { alg: settings.algorithm } },
  };
}

function client(given) {
  return { id_token_signed_response_alg: settings.algorithm, ...given };
}

function make() {
  const logins = ['authorization_code', 'refresh_token', 'urn:ietf:params:oauth:grant-type:device_code'];
  const made = new Provider(settings.issuer, {
    clients: [
      client({
        client_id: settings.client.id,
        client_secret: settings.client.secret,
        redirect_uris: [settings.redirect_uri],
        application_type: 'native',
        grant_types: [...logins, 'password', EXCHANGE],
      }),
      client({
        client_id: settings.public_client.id,
        token_endpoint_auth_method: 'none',
        redirect_uris: [settings.redirect_uri],
        application_type: 'native',
        grant_types: logins,
      }),
      client({
        client_id: settings.workload.id,
        client_secret: settings.workload.secret,
        redirect_uris: [],
        response_types: [],
        grant_types: ['client_credentials'],
      }),
    ],
    clientAuthMethods: ['client_secret_basic', 'none'],
    jwks: { keys: settings.keys },
    enabledJWA: { idTokenSigningAlgValues: [settings.algorithm] },
    cookies: { keys: [settings.cookie_key] },
    claims: { openid: ['sub'], email: ['email', 'email_verified'] },
    scopes: ['openid', 'offline_access', 'email'],
    findAccount: (ctx, id) => (Object.hasOwn(settings.people, id) ? account(id) : undefined),
    extraTokenClaims: (ctx, token) => extraClaims(ctx, token),
    interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
    loadExistingGrant: (ctx) => grantAll(ctx.oidc.provider, ctx.oidc.session.accountId, ctx.oidc.client.clientId),
    pkce: { required: () => true },
    rotateRefreshToken: true,
    issueRefreshToken: (ctx, by) => by.grantTypeAllowed('refresh_token'),
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      deviceFlow: { enabled: true },
      introspection: { enabled: true },
      revocation: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => RESOURCE,
        useGrantedResource: () => true,
        getResourceServerInfo: () => resourceServer(),
      },
    },
  });
  made.registerGrantType('password', passwordGrant, ['username', 'password', 'scope', 'lifetime', 'resource']);
  made.registerGrantType(EXCHANGE, exchange, [
    'subject_token', 'subject_token_type', 'actor_token', 'actor_token_type', 'resource', 'scope',
  ]);
  return made;
}

function account(id) {
  return { accountId: id, claims: () => ({ sub: id, email: settings.people[id].claims.email, email_verified: true }) };
}

function extraClaims(ctx, token) {
  const act = actors.get(ctx);
  return { ...settings.people[token.accountId]?.claims, ...(act ? { act } : {}) };
}

async function grantAll(by, accountId, clientId) {
  const grant = new by.Grant({ accountId, clientId });
  grant.addOIDCScope('openid email offline_access');
  grant.addResourceScope(RESOURCE, 'macaw');
  await grant.save();
  return grant;
}

function accessToken(ctx, accountId, grantId, gty, seconds) {
  const token = new ctx.oidc.provider.AccessToken({ accountId, client: ctx.oidc.client, grantId, gty });
  token.resourceServer = new ctx.oidc.provider.ResourceServer(RESOURCE, resourceServer(seconds));
  token.scope = 'macaw';
  return token;
}

// RFC 6749 4.3, which the package leaves out.
async function passwordGrant(ctx) {
  const { username, password, scope = 'openid', lifetime = 'usual' } = ctx.oidc.params;
  const { client: by, provider: on } = ctx.oidc;
  if (!Object.hasOwn(settings.people, username ?? '') || settings.people[username].password !== password) {
    throw new errors.InvalidGrant('the name or the password is wrong');
  }
  const { jti: grantId } = await grantAll(on, username, by.clientId);
  const token = accessToken(ctx, username, grantId, 'password', settings.lifetimes[lifetime]);
  const refresh = new on.RefreshToken({
    accountId: username, client: by, grantId, gty: 'password', scope, resource: RESOURCE,
  });
  const identity = new on.IdToken(await account(username).claims(), { ctx });
  identity.scope = scope;
  ctx.oidc.entity('Account', account(username));
  ctx.body = {
    access_token: await token.save(),
    token_type: 'Bearer',
    expires_in: token.expiration,
    refresh_token: await refresh.save(),
    id_token: await identity.issue({ use: 'idtoken' }),
  };
}

// RFC 8693: the new token is of the subject, and names the actor before the actors that the subject's token names.
async function exchange(ctx) {
  const given = ctx.oidc.params;
  if (given.subject_token_type !== ACCESS_TOKEN || given.actor_token_type !== ACCESS_TOKEN) {
    throw new errors.InvalidRequest('both token types must be that of an access token');
  }
  const [subject, actor] = await Promise.all([given.subject_token, given.actor_token].map(verify));
  if (!Object.hasOwn(settings.people, subject.sub)) throw new errors.InvalidGrant('the subject is not a person');
  actors.set(ctx, { sub: actor.sub, ...(subject.act ? { act: subject.act } : {}) });
  const { jti: grantId } = await grantAll(ctx.oidc.provider, subject.sub, ctx.oidc.client.clientId);
  const token = accessToken(ctx, subject.sub, grantId, 'token-exchange');
  ctx.oidc.entity('Account', account(subject.sub));
  ctx.body = {
    access_token: await token.save(),
    issued_token_type: ACCESS_TOKEN,
    token_type: 'Bearer',
    expires_in: token.expiration,
  };
}

async function verify(token) {
  const keys = settings.keys.map(({ d, p, q, dp, dq, qi, ...half }) => half);
  try {
    const options = { issuer: settings.issuer, audience: settings.audience, typ: 'at+jwt' };
    return (await jwtVerify(token ?? '', createLocalJWKSet({ keys }), options)).payload;
  } catch {
    throw new errors.InvalidGrant('a token does not verify');
  }
}

const LOGIN = '<input name="username"><input type="password" name="password"><button>Log in</button>';
const CONSENT = '<button>Allow</button>'; // a native client needs it each time (RFC 8252 8.6)

function page(response, form, complaint = '') {
  response.setHeader('content-type', 'text/html; charset=utf-8');
  response.end(`<!DOCTYPE html><title>Log in</title><p>${complaint}</p><form method="post">${form}</form>`);
}

async function body(request) {
  let text = '';
  for await (const part of request) {
    text += part;
    if (text.length > BODY_BYTES_MAX) throw new Error('the form is too long');
  }
  return new URLSearchParams(text);
}

async function interaction(request, response) {
  const { prompt } = await provider.interactionDetails(request, response); // it throws without this login's cookie
  if (request.method !== 'POST') return page(response, prompt.name === 'login' ? LOGIN : CONSENT);
  const form = await body(request);
  if (prompt.name !== 'login') {
    return provider.interactionFinished(request, response, { consent: {} }, { mergeWithLastSubmission: true });
  }
  const name = form.get('username') ?? '';
  if (!Object.hasOwn(settings.people, name) || settings.people[name].password !== form.get('password')) {
    return page(response, LOGIN, 'The name or the password is wrong.');
  }
  return provider.interactionFinished(request, response, { login: { accountId: name } });
}

load();
process.on('SIGHUP', load);
http
  .createServer((request, response) => {
    if (!request.url.startsWith('/interaction/')) return provider.callback()(request, response);
    return interaction(request, response).catch((error) => {
      response.statusCode = 400;
      response.end(String(error.message));
    });
  })
  .listen(settings.port, '127.0.0.1');
