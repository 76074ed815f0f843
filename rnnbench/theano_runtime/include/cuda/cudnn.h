// Theano 1.0.5 calls the recurrent interface of cuDNN 7. cuDNN 8 and 9 lack some of these calls.
// This header comes first on the include path. It includes the real cudnn.h and defines the missing
// calls with the interface of cuDNN 8. It supports every network, direction and type that Theano
// offers.
//
// cuDNN launches several kernels for each time step of a network, and the host often needs longer to
// launch a step than the GPU needs to run it. So this header records a repeated call as a CUDA graph
// and launches the graph as a whole.
//
// Theano has no parameter for two settings. Two macros choose them for each network, where Theano's
// code sets the network's descriptor:
//   RNNBENCH_RNN_MATH_TYPE  a cudnnMathType_t; the default is CUDNN_FMA_MATH, which excludes TF32
//   RNNBENCH_RNN_ALGORITHM  a cudnnRNNAlgo_t; the default is Theano's, CUDNN_RNN_ALGO_STANDARD
#ifndef RNNBENCH_CUDNN_H
#define RNNBENCH_CUDNN_H

#include_next <cudnn.h>

#if CUDNN_MAJOR < 8
#error "rnnbench needs cuDNN 8 or 9"
#endif

#include <cuda.h>
#include <dlfcn.h>
#include <gpuarray/buffer.h>
#include <stdint.h>
#include <stdio.h>

#include <map>
#include <vector>

#ifndef RNNBENCH_RNN_MATH_TYPE
#define RNNBENCH_RNN_MATH_TYPE CUDNN_FMA_MATH
#endif

namespace rnnbench {

// Why this thread's last recurrent call failed. The text is empty once Theano has received it.
struct Failure {
  char text[1024];

  // Notes a failed status with the given message, or with cuDNN's own message if none is given.
  cudnnStatus_t note(const char *call, cudnnStatus_t status, const char *message = "") {
    char last[768] = "";
#if CUDNN_MAJOR >= 9
    cudnnGetLastErrorString(last, sizeof last);  // also clears it
#endif
    if (*message == '\0') message = last;
    snprintf(text, sizeof text, "%s in %s%s%s", cudnnGetErrorString(status), call,
             *message ? ": " : "", message);
    return status;
  }
};

static inline Failure &failure() {
  static thread_local Failure one;
  return one;
}

// Returns the text that Theano shows for a failed status: the noted reason, or cuDNN's name for the
// status. It returns a noted reason only once.
static inline const char *error_string(cudnnStatus_t status) {
  static thread_local Failure told;
  if (failure().text[0] == '\0') failure().note("cuDNN", status);
  told = failure();
  failure().text[0] = '\0';
  return told.text;
}

#ifdef Py_PYTHON_H
// Adds the noted reason to a message, because some of Theano's messages leave the status out.
static inline void set_error(PyObject *type, const char *text) {
  if (failure().text[0] == '\0') {
    PyErr_SetString(type, text);
  } else {
    PyErr_Format(type, "%s: %s", text, failure().text);
    failure().text[0] = '\0';
  }
}
#endif

// Calls cuDNN. If the call fails, notes the failure and returns it from the enclosing function.
#define RNNBENCH_CALL(function, ...)                       \
  do {                                                     \
    cudnnStatus_t status_ = function(__VA_ARGS__);         \
    if (status_ != CUDNN_STATUS_SUCCESS)                   \
      return rnnbench::failure().note(#function, status_); \
  } while (0)

// Calls a function of this header, which notes its own failure, and returns a failure likewise.
#define RNNBENCH_TRY(call)                               \
  do {                                                   \
    cudnnStatus_t status_ = call;                        \
    if (status_ != CUDNN_STATUS_SUCCESS) return status_; \
  } while (0)

// Rejects PERSIST_DYNAMIC: such a network must be built for each batch size, and Theano never does that.
static inline cudnnStatus_t check_algorithm(cudnnRNNAlgo_t algorithm) {
  if (algorithm == CUDNN_RNN_ALGO_PERSIST_DYNAMIC)  // cuDNN would report success and return zeros
    return failure().note("cudnnSetRNNDescriptor", CUDNN_STATUS_NOT_SUPPORTED,
                          "CUDNN_RNN_ALGO_PERSIST_DYNAMIC must be built for each batch size");
  return CUDNN_STATUS_SUCCESS;
}

// Returns a descriptor for a dropout of 0. cuDNN keeps the pointer, and Theano may free its own
// dropout descriptor before the network. So all networks share one that lives as long as the process.
static inline cudnnStatus_t no_dropout(cudnnHandle_t handle, cudnnDropoutDescriptor_t *dropout) {
  static cudnnDropoutDescriptor_t shared = NULL;
  if (shared == NULL) {
    cudnnDropoutDescriptor_t fresh;
    RNNBENCH_CALL(cudnnCreateDropoutDescriptor, &fresh);
    const cudnnStatus_t status = cudnnSetDropoutDescriptor(fresh, handle, 0, NULL, 0, 0);
    if (status != CUDNN_STATUS_SUCCESS) {
      failure().note("cudnnSetDropoutDescriptor", status);
      cudnnDestroyDropoutDescriptor(fresh);
      return status;
    }
    shared = fresh;
  }
  *dropout = shared;
  return CUDNN_STATUS_SUCCESS;
}

// Returns the type in which products are summed: float32 for float16 data.
static inline cudnnDataType_t precision_for(cudnnDataType_t type) {
  return type == CUDNN_DATA_HALF ? CUDNN_DATA_FLOAT : type;
}

}  // namespace rnnbench

#if CUDNN_MAJOR == 8

// cuDNN 8 lacks only this call of the old interface.
static inline cudnnStatus_t cudnnSetRNNDescriptor(
    cudnnHandle_t handle, cudnnRNNDescriptor_t network, int hiddenSize, int numLayers,
    cudnnDropoutDescriptor_t, cudnnRNNInputMode_t inputMode, cudnnDirectionMode_t direction,
    cudnnRNNMode_t cell, cudnnRNNAlgo_t algorithm, cudnnDataType_t dataType) {
#ifdef RNNBENCH_RNN_ALGORITHM
  algorithm = RNNBENCH_RNN_ALGORITHM;
#endif
  cudnnDropoutDescriptor_t dropout;
  RNNBENCH_TRY(rnnbench::check_algorithm(algorithm));
  RNNBENCH_TRY(rnnbench::no_dropout(handle, &dropout));
  RNNBENCH_CALL(cudnnSetRNNDescriptor_v6, handle, network, hiddenSize, numLayers, dropout,
                inputMode, direction, cell, algorithm, rnnbench::precision_for(dataType));
  RNNBENCH_CALL(cudnnSetRNNMatrixMathType, network, RNNBENCH_RNN_MATH_TYPE);
  return CUDNN_STATUS_SUCCESS;
}

#else  // cuDNN 9

namespace rnnbench {

// The settings in a network's descriptor.
struct Network {
  cudnnRNNAlgo_t algorithm;
  cudnnRNNMode_t cell;
  cudnnRNNBiasMode_t bias;
  cudnnDirectionMode_t direction;
  cudnnRNNInputMode_t inputMode;
  cudnnDataType_t dataType;
  cudnnDataType_t precision;
  cudnnMathType_t mathType;
  int32_t inputSize;
  int32_t hiddenSize;
  int32_t projectionSize;
  int32_t layers;
  cudnnDropoutDescriptor_t dropout;
  uint32_t flags;

  cudnnStatus_t read(cudnnRNNDescriptor_t from) {
    RNNBENCH_CALL(cudnnGetRNNDescriptor_v8, from, &algorithm, &cell, &bias, &direction, &inputMode,
                 &dataType, &precision, &mathType, &inputSize, &hiddenSize, &projectionSize,
                 &layers, &dropout, &flags);
    return CUDNN_STATUS_SUCCESS;
  }

  cudnnStatus_t write(cudnnRNNDescriptor_t to) const {
    RNNBENCH_CALL(cudnnSetRNNDescriptor_v8, to, algorithm, cell, bias, direction, inputMode,
                 dataType, precision, mathType, inputSize, hiddenSize, projectionSize, layers,
                 dropout, flags);
    return CUDNN_STATUS_SUCCESS;
  }
};

// A copy of a network's descriptor with the input size. The old interface passes the size with each
// call, and the new one reads it from the descriptor. cuDNN may not notice a change of the size in an
// existing descriptor, so each call makes a fresh copy.
struct SizedNetwork {
  cudnnRNNDescriptor_t descriptor = NULL;
  Network settings;

  SizedNetwork() {}
  SizedNetwork(const SizedNetwork &) = delete;
  SizedNetwork &operator=(const SizedNetwork &) = delete;
  ~SizedNetwork() {
    if (descriptor != NULL) cudnnDestroyRNNDescriptor(descriptor);
  }

  cudnnStatus_t set(cudnnRNNDescriptor_t unsized, int inputSize) {
    RNNBENCH_TRY(settings.read(unsized));
    if (settings.inputMode == CUDNN_SKIP_INPUT && inputSize != settings.hiddenSize) {
      char message[128];
      snprintf(message, sizeof message, "skip input needs input size %d to equal hidden size %d",
               inputSize, settings.hiddenSize);
      return failure().note("the network's input", CUDNN_STATUS_BAD_PARAM, message);
    }
    settings.inputSize = inputSize;
    RNNBENCH_CALL(cudnnCreateRNNDescriptor, &descriptor);
    return settings.write(descriptor);
  }
};

// Batch, features and type of one time step, read from a descriptor of the old interface.
struct Step {
  cudnnDataType_t type;
  int sizes[3];

  cudnnStatus_t read(cudnnTensorDescriptor_t from) {
    int rank, strides[3];
    RNNBENCH_CALL(cudnnGetTensorNdDescriptor, from, 3, &type, &rank, sizes, strides);
    return CUDNN_STATUS_SUCCESS;
  }
};

// A descriptor of the new interface for a whole sequence: steps × batch × features, without padding.
struct Sequence {
  cudnnRNNDataDescriptor_t descriptor = NULL;
  Step step;

  Sequence() {}
  Sequence(const Sequence &) = delete;
  Sequence &operator=(const Sequence &) = delete;
  ~Sequence() {
    if (descriptor != NULL) cudnnDestroyRNNDataDescriptor(descriptor);
  }

  // Theano gives all steps the same descriptor, so all sequences of a batch have the same length.
  cudnnStatus_t set(int steps, const cudnnTensorDescriptor_t *perStep) {
    if (steps < 1)
      return failure().note("the network's input", CUDNN_STATUS_BAD_PARAM, "no time steps");
    RNNBENCH_TRY(step.read(perStep[0]));
    std::vector<int> lengths(step.sizes[0], steps);
    RNNBENCH_CALL(cudnnCreateRNNDataDescriptor, &descriptor);
    RNNBENCH_CALL(cudnnSetRNNDataDescriptor, descriptor, step.type,
                 CUDNN_RNN_DATA_LAYOUT_SEQ_MAJOR_PACKED, steps, step.sizes[0], step.sizes[1],
                 lengths.data(), NULL);
    return CUDNN_STATUS_SUCCESS;
  }
};

// A tensor descriptor that cuDNN fills in and this struct frees.
struct Tensor {
  cudnnTensorDescriptor_t descriptor = NULL;

  Tensor() {}
  Tensor(const Tensor &) = delete;
  Tensor &operator=(const Tensor &) = delete;
  ~Tensor() {
    if (descriptor != NULL) cudnnDestroyTensorDescriptor(descriptor);
  }
};

// Reads how many bytes of device memory one training call over this input needs.
static inline cudnnStatus_t temporary_sizes(cudnnHandle_t handle, cudnnRNNDescriptor_t network,
                                            int steps, const cudnnTensorDescriptor_t *xDesc,
                                            size_t *workspace, size_t *reserve) {
  Sequence x;
  SizedNetwork sized;
  RNNBENCH_TRY(x.set(steps, xDesc));
  RNNBENCH_TRY(sized.set(network, x.step.sizes[1]));
  RNNBENCH_CALL(cudnnGetRNNTempSpaceSizes, handle, sized.descriptor, CUDNN_FWD_MODE_TRAINING, x.descriptor,
               workspace, reserve);
  return CUDNN_STATUS_SUCCESS;
}

// cuDNN lays out its reserve from the first aligned address of the buffer. Theano copies the reserve
// into another buffer, and libgpuarray aligns buffers to 64 bytes only. So this struct finds the
// aligned address in each buffer, and move_reserve copies from one aligned address to the other.
struct Reserve {
  static const size_t alignment = 512;
  char *start;
  size_t bytes;

  Reserve(const void *buffer, size_t size)
      : start(static_cast<char *>(const_cast<void *>(buffer)) + gap(buffer)),
        bytes(size > alignment ? size - alignment : 0) {}

  // Returns the number of bytes from an address to the next aligned one.
  static size_t gap(const void *buffer) {
    return (alignment - reinterpret_cast<uintptr_t>(buffer) % alignment) % alignment;
  }
};

// Copies a whole reserve. Theano's cuDNN code uses gpudata_move for nothing else.
static inline int move_reserve(gpudata *to, size_t, gpudata *from, size_t, size_t bytes) {
  const size_t toGap = Reserve::gap(*reinterpret_cast<void **>(to));
  const size_t fromGap = Reserve::gap(*reinterpret_cast<void **>(from));
  return gpudata_move(to, toGap, from, fromGap, bytes - Reserve::alignment);
}

// The driver's functions for CUDA graphs. Theano's modules don't link the driver, but libgpuarray has
// loaded it.
struct Driver {
  decltype(&cuStreamCreate) createStream;
  decltype(&cuStreamDestroy) destroyStream;
  decltype(&cuStreamBeginCapture) beginCapture;
  decltype(&cuStreamEndCapture) endCapture;
  decltype(&cuGraphInstantiateWithFlags) instantiate;
  decltype(&cuGraphDestroy) destroyGraph;
  decltype(&cuGraphLaunch) launch;
  decltype(&cuGraphExecDestroy) destroy;
  bool complete;

  Driver() : complete(true) {
    void *library = dlopen("libcuda.so.1", RTLD_LAZY);
    find(library, "cuStreamCreate", &createStream);
    find(library, "cuStreamDestroy_v2", &destroyStream);
    find(library, "cuStreamBeginCapture_v2", &beginCapture);
    find(library, "cuStreamEndCapture", &endCapture);
    find(library, "cuGraphInstantiateWithFlags", &instantiate);
    find(library, "cuGraphDestroy", &destroyGraph);
    find(library, "cuGraphLaunch", &launch);
    find(library, "cuGraphExecDestroy", &destroy);
  }

  template <class Function>
  void find(void *library, const char *name, Function *function) {
    *function = library ? reinterpret_cast<Function>(dlsym(library, name)) : NULL;
    complete = complete && *function != NULL;
  }
};

// The CUDA graphs of repeated calls. A repeated call has the same sizes, settings and addresses.
class Graphs {
 public:
  // Runs a call directly the first time. From the second time on, launches its graph if the call can
  // be recorded.
  template <class Call>
  cudnnStatus_t run(cudnnHandle_t handle, const std::vector<uint64_t> &key, const Call &call) {
    const auto known = graphs.find(key);
    if (known == graphs.end()) {
      RNNBENCH_TRY(call());
      if (graphs.size() == most) clear();
      graphs[key] = Graph();
      return CUDNN_STATUS_SUCCESS;
    }
    Graph &graph = known->second;
    if (!graph.tried) graph.executable = record(handle, call);
    graph.tried = true;
    if (graph.executable == NULL) return call();
    cudaStream_t stream;
    RNNBENCH_CALL(cudnnGetStream, handle, &stream);
    if (driver.launch(graph.executable, stream) != CUDA_SUCCESS)
      return failure().note("cuGraphLaunch", CUDNN_STATUS_EXECUTION_FAILED);
    return CUDNN_STATUS_SUCCESS;
  }

 private:
  struct Graph {
    bool tried = false;
    CUgraphExec executable = NULL;
  };
  static const size_t most = 64;  // calls whose addresses are never used again must not pile up
  Driver driver;
  std::map<std::vector<uint64_t>, Graph> graphs;

  // Records a call as a graph, or returns NULL. Theano's handle uses the default stream, which can't
  // be recorded, so the recording uses a stream of its own.
  template <class Call>
  CUgraphExec record(cudnnHandle_t handle, const Call &call) {
    CUstream aside;
    CUgraph graph = NULL;
    CUgraphExec executable = NULL;
    cudaStream_t usual;
    if (!driver.complete || cudnnGetStream(handle, &usual) != CUDNN_STATUS_SUCCESS ||
        driver.createStream(&aside, CU_STREAM_NON_BLOCKING) != CUDA_SUCCESS)
      return NULL;
    if (cudnnSetStream(handle, aside) == CUDNN_STATUS_SUCCESS &&
        driver.beginCapture(aside, CU_STREAM_CAPTURE_MODE_RELAXED) == CUDA_SUCCESS) {
      const cudnnStatus_t status = call();
      if (driver.endCapture(aside, &graph) == CUDA_SUCCESS && status == CUDNN_STATUS_SUCCESS &&
          driver.instantiate(&executable, graph, 0) != CUDA_SUCCESS)
        executable = NULL;
    }
    cudnnSetStream(handle, usual);
    failure().text[0] = '\0';  // run() now calls it directly, which notes its own failure
    if (graph != NULL) driver.destroyGraph(graph);
    driver.destroyStream(aside);
    return executable;
  }

  void clear() {
    for (auto &each : graphs)
      if (each.second.executable != NULL) driver.destroy(each.second.executable);
    graphs.clear();
  }
};

// The data that forward and backward calls share: the network, its input and output, and the size of
// its parameters.
struct Pass {
  SizedNetwork network;
  Sequence x, y;
  size_t parameterBytes;

  cudnnStatus_t set(cudnnRNNDescriptor_t unsized, int steps, const cudnnTensorDescriptor_t *xDesc,
                    const cudnnTensorDescriptor_t *yDesc, cudnnFilterDescriptor_t wDesc) {
    RNNBENCH_TRY(x.set(steps, xDesc));
    RNNBENCH_TRY(network.set(unsized, x.step.sizes[1]));
    RNNBENCH_TRY(y.set(steps, yDesc));
    RNNBENCH_CALL(cudnnGetFilterSizeInBytes, wDesc, &parameterBytes);
    return CUDNN_STATUS_SUCCESS;
  }

  // Runs a call. Two calls with equal keys are the same call: the key holds all sizes, settings and
  // addresses.
  template <class Call, class... Addresses>
  cudnnStatus_t run(cudnnHandle_t handle, const Call &call, int steps, Addresses... addresses) const {
    static Graphs graphs;
    const Network &n = network.settings;
    return graphs.run(handle,
                      {(uint64_t)handle, (uint64_t)n.algorithm, (uint64_t)n.cell,
                       (uint64_t)n.direction, (uint64_t)n.inputMode, (uint64_t)n.dataType,
                       (uint64_t)n.mathType, (uint64_t)n.inputSize, (uint64_t)n.hiddenSize,
                       (uint64_t)n.layers, (uint64_t)steps, (uint64_t)x.step.sizes[0],
                       (uint64_t)addresses...},
                      call);
  }
};

// Finds the address of one gate's matrix or bias in the parameters, and sets its shape as a filter.
static inline cudnnStatus_t find_parameters(
    cudnnHandle_t handle, cudnnRNNDescriptor_t network, int layer, cudnnTensorDescriptor_t xDesc,
    cudnnFilterDescriptor_t wDesc, const void *w, int gate, bool wantBias,
    cudnnFilterDescriptor_t shape, void **address) {
  Step input;
  SizedNetwork sized;
  RNNBENCH_TRY(input.read(xDesc));
  RNNBENCH_TRY(sized.set(network, input.sizes[1]));
  size_t bytes;
  RNNBENCH_CALL(cudnnGetFilterSizeInBytes, wDesc, &bytes);
  Tensor matrix, bias;
  void *matrixAddress, *biasAddress;
  RNNBENCH_CALL(cudnnCreateTensorDescriptor, &matrix.descriptor);
  RNNBENCH_CALL(cudnnCreateTensorDescriptor, &bias.descriptor);
  RNNBENCH_CALL(cudnnGetRNNWeightParams, handle, sized.descriptor, layer, bytes, w, gate,
                matrix.descriptor, &matrixAddress, bias.descriptor, &biasAddress);
  *address = wantBias ? biasAddress : matrixAddress;
  if (*address == NULL)  // cuDNN has no descriptor for an empty matrix
    return failure().note("cudnnGetRNNWeightParams", CUDNN_STATUS_BAD_PARAM,
                          "the network has no such parameters (skip input has no input matrix)");
  Step found;
  RNNBENCH_TRY(found.read(wantBias ? bias.descriptor : matrix.descriptor));
  RNNBENCH_CALL(cudnnSetFilterNdDescriptor, shape, found.type, CUDNN_TENSOR_NCHW, 3, found.sizes);
  return CUDNN_STATUS_SUCCESS;
}

}  // namespace rnnbench

// Each later call passes the input size. Here the hidden size stands in for it.
static inline cudnnStatus_t cudnnSetRNNDescriptor(
    cudnnHandle_t handle, cudnnRNNDescriptor_t network, int hiddenSize, int numLayers,
    cudnnDropoutDescriptor_t, cudnnRNNInputMode_t inputMode, cudnnDirectionMode_t direction,
    cudnnRNNMode_t cell, cudnnRNNAlgo_t algorithm, cudnnDataType_t dataType) {
#ifdef RNNBENCH_RNN_ALGORITHM
  algorithm = RNNBENCH_RNN_ALGORITHM;
#endif
  cudnnDropoutDescriptor_t dropout;
  RNNBENCH_TRY(rnnbench::check_algorithm(algorithm));
  RNNBENCH_TRY(rnnbench::no_dropout(handle, &dropout));
  const rnnbench::Network settings = {algorithm,
                                      cell,
                                      CUDNN_RNN_DOUBLE_BIAS,
                                      direction,
                                      inputMode,
                                      dataType,
                                      rnnbench::precision_for(dataType),
                                      RNNBENCH_RNN_MATH_TYPE,
                                      hiddenSize,
                                      hiddenSize,
                                      hiddenSize,
                                      numLayers,
                                      dropout,
                                      CUDNN_RNN_PADDED_IO_DISABLED};
  return settings.write(network);
}

static inline cudnnStatus_t cudnnGetRNNParamsSize(cudnnHandle_t handle,
                                                  cudnnRNNDescriptor_t network,
                                                  cudnnTensorDescriptor_t xDesc, size_t *bytes,
                                                  cudnnDataType_t) {
  rnnbench::Step input;
  rnnbench::SizedNetwork sized;
  RNNBENCH_TRY(input.read(xDesc));
  RNNBENCH_TRY(sized.set(network, input.sizes[1]));
  RNNBENCH_CALL(cudnnGetRNNWeightSpaceSize, handle, sized.descriptor, bytes);
  return CUDNN_STATUS_SUCCESS;
}

static inline cudnnStatus_t cudnnGetRNNWorkspaceSize(cudnnHandle_t handle,
                                                     cudnnRNNDescriptor_t network, int steps,
                                                     const cudnnTensorDescriptor_t *xDesc,
                                                     size_t *bytes) {
  size_t reserve;
  return rnnbench::temporary_sizes(handle, network, steps, xDesc, bytes, &reserve);
}

static inline cudnnStatus_t cudnnGetRNNTrainingReserveSize(cudnnHandle_t handle,
                                                           cudnnRNNDescriptor_t network, int steps,
                                                           const cudnnTensorDescriptor_t *xDesc,
                                                           size_t *bytes) {
  size_t workspace;
  RNNBENCH_TRY(rnnbench::temporary_sizes(handle, network, steps, xDesc, &workspace, bytes));
  *bytes += rnnbench::Reserve::alignment;
  return CUDNN_STATUS_SUCCESS;
}

static inline cudnnStatus_t cudnnGetRNNLinLayerMatrixParams(
    cudnnHandle_t handle, cudnnRNNDescriptor_t network, int layer, cudnnTensorDescriptor_t xDesc,
    cudnnFilterDescriptor_t wDesc, const void *w, int gate, cudnnFilterDescriptor_t shape,
    void **address) {
  return rnnbench::find_parameters(handle, network, layer, xDesc, wDesc, w, gate, false, shape,
                                   address);
}

static inline cudnnStatus_t cudnnGetRNNLinLayerBiasParams(
    cudnnHandle_t handle, cudnnRNNDescriptor_t network, int layer, cudnnTensorDescriptor_t xDesc,
    cudnnFilterDescriptor_t wDesc, const void *w, int gate, cudnnFilterDescriptor_t shape,
    void **address) {
  return rnnbench::find_parameters(handle, network, layer, xDesc, wDesc, w, gate, true, shape,
                                   address);
}

// The new interface takes one descriptor for both the initial and the final state, which have the
// same shape.
static inline cudnnStatus_t cudnnRNNForwardTraining(
    cudnnHandle_t handle, cudnnRNNDescriptor_t network, int steps,
    const cudnnTensorDescriptor_t *xDesc, const void *x,
    cudnnTensorDescriptor_t hxDesc, const void *hx, cudnnTensorDescriptor_t cxDesc, const void *cx,
    cudnnFilterDescriptor_t wDesc, const void *w,
    const cudnnTensorDescriptor_t *yDesc, void *y,
    cudnnTensorDescriptor_t hyDesc, void *hy, cudnnTensorDescriptor_t cyDesc, void *cy,
    void *workspace, size_t workspaceBytes, void *reserve, size_t reserveBytes) {
  rnnbench::Pass pass;
  const rnnbench::Reserve held(reserve, reserveBytes);
  RNNBENCH_TRY(pass.set(network, steps, xDesc, yDesc, wDesc));
  const auto call = [&] {
    RNNBENCH_CALL(cudnnRNNForward, handle, pass.network.descriptor, CUDNN_FWD_MODE_TRAINING, NULL,
                  pass.x.descriptor, x, pass.y.descriptor, y,
                  hxDesc ? hxDesc : hyDesc, hx, hy, cxDesc ? cxDesc : cyDesc, cx, cy,
                  pass.parameterBytes, w, workspaceBytes, workspace, held.bytes, held.start);
    return CUDNN_STATUS_SUCCESS;
  };
  return pass.run(handle, call, steps, x, y, hx, hy, cx, cy, w, workspace, held.start);
}

static inline cudnnStatus_t cudnnRNNBackwardData(
    cudnnHandle_t handle, cudnnRNNDescriptor_t network, int steps,
    const cudnnTensorDescriptor_t *yDesc, const void *y,
    const cudnnTensorDescriptor_t *, const void *dy,
    cudnnTensorDescriptor_t dhyDesc, const void *dhy,
    cudnnTensorDescriptor_t dcyDesc, const void *dcy,
    cudnnFilterDescriptor_t wDesc, const void *w,
    cudnnTensorDescriptor_t hxDesc, const void *hx, cudnnTensorDescriptor_t cxDesc, const void *cx,
    const cudnnTensorDescriptor_t *dxDesc, void *dx,
    cudnnTensorDescriptor_t dhxDesc, void *dhx, cudnnTensorDescriptor_t dcxDesc, void *dcx,
    void *workspace, size_t workspaceBytes, void *reserve, size_t reserveBytes) {
  rnnbench::Pass pass;
  const rnnbench::Reserve held(reserve, reserveBytes);
  RNNBENCH_TRY(pass.set(network, steps, dxDesc, yDesc, wDesc));
  const cudnnTensorDescriptor_t h = hxDesc ? hxDesc : dhxDesc ? dhxDesc : dhyDesc;
  const cudnnTensorDescriptor_t c = cxDesc ? cxDesc : dcxDesc ? dcxDesc : dcyDesc;
  const auto call = [&] {
    RNNBENCH_CALL(cudnnRNNBackwardData_v8, handle, pass.network.descriptor, NULL,
                  pass.y.descriptor, y, dy, pass.x.descriptor, dx, h, hx, dhy, dhx, c, cx, dcy, dcx,
                  pass.parameterBytes, w, workspaceBytes, workspace, held.bytes, held.start);
    return CUDNN_STATUS_SUCCESS;
  };
  return pass.run(handle, call, steps, y, dy, dx, hx, dhy, dhx, cx, dcy, dcx, w, workspace,
                  held.start);
}

// Adds the gradients to dw, as the old interface did.
static inline cudnnStatus_t cudnnRNNBackwardWeights(
    cudnnHandle_t handle, cudnnRNNDescriptor_t network, int steps,
    const cudnnTensorDescriptor_t *xDesc, const void *x, cudnnTensorDescriptor_t hxDesc,
    const void *hx, const cudnnTensorDescriptor_t *yDesc, const void *y,
    const void *workspace, size_t workspaceBytes, cudnnFilterDescriptor_t dwDesc, void *dw,
    const void *reserve, size_t reserveBytes) {
  rnnbench::Pass pass;
  const rnnbench::Reserve held(reserve, reserveBytes);
  RNNBENCH_TRY(pass.set(network, steps, xDesc, yDesc, dwDesc));
  const auto call = [&] {
    RNNBENCH_CALL(cudnnRNNBackwardWeights_v8, handle, pass.network.descriptor,
                  CUDNN_WGRAD_MODE_ADD, NULL, pass.x.descriptor, x, hxDesc, hx, pass.y.descriptor,
                  y, pass.parameterBytes, dw, workspaceBytes, const_cast<void *>(workspace),
                  held.bytes, held.start);
    return CUDNN_STATUS_SUCCESS;
  };
  return pass.run(handle, call, steps, x, hx, y, dw, workspace, held.start);
}

// From here on Theano's code copies a reserve with move_reserve.
#define gpudata_move rnnbench::move_reserve

#endif  // cuDNN 9

#undef RNNBENCH_CALL
#undef RNNBENCH_TRY

// From here on Theano's error messages include the noted reasons.
#define cudnnGetErrorString rnnbench::error_string
#ifdef Py_PYTHON_H
#define PyErr_SetString rnnbench::set_error
#endif

#endif  // RNNBENCH_CUDNN_H
