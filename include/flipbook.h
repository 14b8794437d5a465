/* Flipbook: train graph neural networks on graphs that change, on clusters. All public headers, in
 * data-flow order. */
#ifndef FLIPBOOK_H
#define FLIPBOOK_H
#include <flipbook/base.h>
#include <flipbook/codec.h>
#include <flipbook/kernels.h>
#include <flipbook/comm.h>
#include <flipbook/graph.h>
#include <flipbook/layout.h>
#include <flipbook/snapshots.h>
#include <flipbook/volume.h>
#include <flipbook/container.h>
#include <flipbook/import.h>
#include <flipbook/generate.h>
#include <flipbook/partition.h>
#include <flipbook/store.h>
#include <flipbook/compress.h>
#include <flipbook/sample.h>
#include <flipbook/tape.h>
#include <flipbook/model.h>
#include <flipbook/train.h>
#endif
