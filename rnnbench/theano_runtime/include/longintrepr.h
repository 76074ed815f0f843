/* Python 3.11 moved this header; without it here the C code of Theano's scan loop doesn't compile. */
#include <cpython/longintrepr.h>
