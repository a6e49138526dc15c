"""A mail server on port 25 of an address, with STARTTLS. It keeps nothing. Usage: mailserver.py NAME CERT KEY"""

import asyncio
import ssl
import sys

from aiosmtpd.handlers import Sink
from aiosmtpd.smtp import SMTP


async def main(name, cert, key):
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(cert, key)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(Sink(), hostname=name, tls_context=tls, loop=loop), port=25)
    await server.serve_forever()


asyncio.run(main(*sys.argv[1:4]))
