#!/bin/sh
# End the connections of this host to the shared address, when that has left the host. A connection that was made while the host had the address has it at both
# ends. Nothing can be sent on it any more, and nobody is told: a tracking server would wait for its artifact store until its patience ends.
# Without CONFIG_INET_DIAG_DESTROY in the kernel, they stay.
exec ss --kill --no-header --tcp "src $1 and dst $1" > /dev/null
