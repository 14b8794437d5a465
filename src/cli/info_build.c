/* flipbook info --build: what the program was made with, and what it finds on this machine. */
#include "cli/info.h"

#include <cblas.h>
#include <cyaml/cyaml.h>
#include <flipbook/kernels.h>
#include <hdf5.h>
#include <hwloc.h>
#include <jansson.h>
#include <metis.h>
#include <omp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>
#include <zlib.h>
#include <zstd.h>

#include "flip_build.h"

static void print_program(void) {
    printf("flipbook %s, %s build (flip_real is %s)\n", FLIP_VERSION, FLIP_BUILD_TYPE,
           FLIP_REAL_NAME);
    printf("  compiler     %s", FLIP_BUILD_COMPILER);
    if (strcmp(FLIP_BUILD_SANITIZE, "none") != 0) printf(", sanitizers %s", FLIP_BUILD_SANITIZE);
    printf("\n  CUDA         %s\n  NCCL         %s\n\n", FLIP_BUILD_CUDA, FLIP_BUILD_NCCL);
}

static void print_libraries(void) {
    char mpi[MPI_MAX_LIBRARY_VERSION_STRING] = "";
    unsigned major, minor, release;
    int length = 0;
    MPI_Get_library_version(mpi, &length);
    mpi[strcspn(mpi, ",\n")] = 0;
    H5get_libversion(&major, &minor, &release);
    printf("Libraries\n");
    printf("  MPI          %s\n", mpi);
    printf("  HDF5         %u.%u.%u, parallel\n", major, minor, release);
    printf("  METIS        %d.%d.%d, idx_t %d bits, real_t %d bits\n", METIS_VER_MAJOR,
           METIS_VER_MINOR, METIS_VER_SUBMINOR, IDXTYPEWIDTH, REALTYPEWIDTH);
    printf("  OpenBLAS     %s\n", openblas_get_config());
    printf("  libcyaml %s, jansson %s, xxhash %u.%u.%u, zstd %s, zlib %s, hwloc %s\n\n",
           cyaml_version_str, jansson_version_str(), XXH_versionNumber() / 10000,
           XXH_versionNumber() / 100 % 100, XXH_versionNumber() % 100, ZSTD_versionString(),
           zlibVersion(), HWLOC_VERSION);
}

/* The first GPU that this process sees, and what keeps it from computing there. */
static void print_gpu(void) {
    const int n = flip_kernels_cuda_devices();
    const flip_kernels *table;
    if (n == 0) return;
    if (flip_kernels_cuda(&table, 0) == FLIP_OK)
        printf("  GPU          %s, %.1f GB free%s\n", table->device,
               (double)table->available() / 1e9, n > 1 ? ", and others" : "");
    else
        printf("  GPU          not usable: %s\n", flip_error_message());
    flip_error_clear();
}

static void print_kernels(void) {
    const flip_kernels *tables[FLIP_KERNEL_TABLES];
    int n = flip_kernels_list(tables);
    printf("Kernels\n");
    printf("  this CPU     %s\n", flip_isa_name(flip_isa_detect()));
    printf("  in use       %s (of", flip_kernels_get()->name);
    for (int i = 0; i < n; i++)
        printf(" %s", tables[i]->name);
    printf("; FLIP_ISA=c|avx2|avx512 lowers it)\n");
    printf("  OpenBLAS     %s kernels\n", flip_blas_core());
    printf("  OpenMP       %d threads (OMP_NUM_THREADS sets it)\n", omp_get_max_threads());
    print_gpu();
    printf("\n");
}

static void print_caches(hwloc_topology_t topology) {
    static const hwloc_obj_type_t types[] = {HWLOC_OBJ_L1CACHE, HWLOC_OBJ_L2CACHE,
                                             HWLOC_OBJ_L3CACHE};
    const char *between = "  caches       ";
    for (int i = 0; i < 3; i++) {
        hwloc_obj_t cache = hwloc_get_obj_by_type(topology, types[i], 0);
        if (!cache) continue;
        double size = (double)cache->attr->cache.size / 1024;
        printf("%s%d x L%d of %.4g %s", between, hwloc_get_nbobjs_by_type(topology, types[i]),
               i + 1, size < 1024 ? size : size / 1024, size < 1024 ? "KiB" : "MiB");
        between = ", ";
    }
    if (between[0] == ',') putchar('\n');
}

static flip_status print_machine(void) {
    hwloc_topology_t topology;
    if (hwloc_topology_init(&topology) != 0)
        return FLIP_FAIL(FLIP_ERROR_LIBRARY, "hwloc cannot start");
    if (hwloc_topology_load(topology) != 0) {
        hwloc_topology_destroy(topology);
        return FLIP_FAIL(FLIP_ERROR_LIBRARY, "hwloc cannot read this machine's topology");
    }
    hwloc_obj_t package = hwloc_get_obj_by_type(topology, HWLOC_OBJ_PACKAGE, 0);
    const char *model = package ? hwloc_obj_get_info_by_name(package, "CPUModel") : NULL;
    printf("Machine\n");
    printf("  processor    %s\n", model ? model : "unknown");
    printf("  cores        %d, hardware threads %d, packages %d\n",
           hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_CORE),
           hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_PU),
           hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_PACKAGE));
    print_caches(topology);
    int nodes = hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_NUMANODE);
    printf("  NUMA nodes   %d\n", nodes);
    double total = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    double available = (double)flip_memory_available();
    printf("  memory       %.1f GB, of which this process may use %.1f GB%s\n", total / 1e9,
           available / 1e9, available < 0.999 * total ? " (limit of its cgroup)" : "");
    hwloc_topology_destroy(topology);
    return FLIP_OK;
}

flip_status flip_info_build(void) {
    print_program();
    print_libraries();
    print_kernels();
    return print_machine();
}
