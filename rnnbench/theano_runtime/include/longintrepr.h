/* Python 3.11 moved this header. The C code of Theano's scan loop includes it by its old name. */
#if __has_include(<cpython/longintrepr.h>)
#include <cpython/longintrepr.h>
#else
#include_next <longintrepr.h>
#endif
