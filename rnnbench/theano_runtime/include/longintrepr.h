/* Python 3.11 moved this header. The C code of Theano's scan loop includes it by its old name. */
#include <cpython/longintrepr.h>
